"""The `winnow` command; everything heavy is imported inside the command that needs it."""
