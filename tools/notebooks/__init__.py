"""The tool for the book's notebooks; see `command.py`."""
