"""Every error of importing.

ImportRefused     the data can't be imported as asked; says what was expected, found, and what to do
"""


class ImportRefused(Exception):
    """Nothing was written; the text is meant for the person who has to act."""
