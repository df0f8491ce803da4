"""The stages of a recipe: one step each, with a file that says what it was made from."""
