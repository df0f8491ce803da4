"""Every error of evaluation.

EvaluationError
 +-- InputFileError           a judgement, product or score file can't be used; names file and line
 +-- LibraryMissing           an optional library is not installed; names the extra that brings it
 +-- UndefinedMetric          the metric has no value on these pairs
      +-- NoCleanSeparation   the scores don't tell relevant pairs from others as asked
"""


class EvaluationError(Exception):
    """Base of the errors below; its text is meant for the person who has to act."""


class InputFileError(EvaluationError):
    """An input file can't be used: says which file and line, what was expected and what came."""


class LibraryMissing(EvaluationError):
    """A plot or baseline needs a library that is not installed: says how to install it."""


class UndefinedMetric(EvaluationError):
    """No value here: labels of one class, constant values, no query with a gain."""


class NoCleanSeparation(UndefinedMetric):
    """Relevant and irrelevant pairs can't be told apart as asked: says what was found."""
