"""Checks of a deployment, for `winnow doctor`: they answer with findings and change nothing."""
