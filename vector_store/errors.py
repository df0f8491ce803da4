"""Every error a vector store raises. Errors of redis and lmdb are translated where they enter.

StoreError
├── StoreUnavailable   the store cannot answer now: connection, timeout, loading, read-only replica
├── SetNotFound        no vector set has this id, or none is live
│   └── SetMismatch    there are sets of product rows, and none that this student can read
├── SetCorrupt         the header of a vector set cannot be read
├── InvalidId          a product id that no store can hold
└── InvalidRow         a product row or record of the wrong shape, type or length

Messages say what was expected, what came and what to do. They never hold a password.
"""


class StoreError(Exception):
    """A vector store refused or failed; the base of all errors of this package."""


class StoreUnavailable(StoreError):
    """The store cannot answer now; the same call may succeed later."""


class SetNotFound(StoreError):
    """No vector set has this id, or none is live for this fingerprint."""


class SetMismatch(SetNotFound):
    """The store has product rows, but other product graphs than this student's made them."""


class SetCorrupt(StoreError):
    """The header of a vector set cannot be read."""


class InvalidId(StoreError):
    """A product id is empty, too long or not valid UTF-8."""


class InvalidRow(StoreError):
    """A product row or record has the wrong shape, type, length or a value that is not finite."""
