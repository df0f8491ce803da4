"""Every error that model_store raises; nothing here knows of HTTP, torch or a store.

ModelStoreError
 +-- BundleNotFound     no such name or version
 +-- BundleDamaged      a file is missing, truncated, changed, foreign or unreadable
 +-- BundleRefused      the files are whole, but their content fails a check (golden rows, format)
 +-- BundleExists       a version is immutable once published
 +-- TokenizerError     tokenizer files that do not make a tokenizer
"""


class ModelStoreError(Exception):
    """Base of the errors below; its text is meant for the person who has to act."""


class BundleNotFound(ModelStoreError):
    """No bundle of that name or version; the text names those that exist."""


class BundleDamaged(ModelStoreError):
    """A bundle's folder is not what was published; the text names the file, expected and got."""


class BundleRefused(ModelStoreError):
    """A whole bundle that must not be served; the text says which check failed and how."""


class BundleExists(ModelStoreError):
    """A published version can't be written again."""


class TokenizerError(ModelStoreError):
    """Tokenizer files that do not make a tokenizer."""
