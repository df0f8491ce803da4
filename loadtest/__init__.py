"""Load and cost measurements over HTTP; only headlines.py runs a student of the project itself."""
