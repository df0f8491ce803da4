"""Every error that indexing raises by itself; errors of the store and the student pass through.

IndexingError
 +-- CatalogueError        the file can't be opened or read as what it is said to be
 |    +-- CatalogueDamaged   it broke off in the middle; rows before that are kept
 |    +-- CatalogueChanged   it was written to while it was being read
 +-- StoreTooSmall         the projected set does not fit what the store has left
 +-- BuildConflict         another indexer works on the same set
 +-- BuildRefused          the unfinished set can't be continued, or there is nothing to build
 +-- VerifyFailed          what was read back is not what was written; the set stays unsealed
 +-- SetRefused            a set can't be activated, rolled back to, or collected
 +-- RayUnavailable        Ray is not installed, or no cluster answers
 +-- RayFailed             the work on a Ray cluster raised an error
"""


class IndexingError(Exception):
    """Base of the errors below; its text is meant for the person who has to act."""


class CatalogueError(IndexingError):
    """The catalogue file can't be used; the text names the file, what was expected and found."""


class CatalogueDamaged(CatalogueError):
    """Reading broke off in the middle; the text says after how many rows."""


class CatalogueChanged(CatalogueError):
    """The file's size or time changed while it was read, so its rows may be of two versions."""


class StoreTooSmall(IndexingError):
    """The projected size of the set is more than the store has left."""


class BuildConflict(IndexingError):
    """Another indexer is building the same set; the text names its host and process."""


class BuildRefused(IndexingError):
    """The build can't start, continue or finish; the text says what to do."""


class VerifyFailed(IndexingError):
    """The verify pass found a difference; the live set is untouched."""


class SetRefused(IndexingError):
    """An operation on sets that would leave none, or not that one, to serve."""


class RayUnavailable(IndexingError):
    """Work was to be done on a Ray cluster, but there is none; the text says how to get one."""


class RayFailed(IndexingError):
    """A worker of the Ray cluster raised an error; the text has it."""
