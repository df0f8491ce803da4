"""Every error of evaluation.

EvaluationError
 +-- InputFileError    a judgement or product file can't be used; names file and line
 +-- UndefinedMetric   the metric has no value on these pairs
"""


class EvaluationError(Exception):
    """Base of the errors below; its text is meant for the person who has to act."""


class InputFileError(EvaluationError):
    """An input file can't be used: says which file and line, what was expected and what came."""


class UndefinedMetric(EvaluationError):
    """No value here: labels of one class, constant values, no query with a gain."""
