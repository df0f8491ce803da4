"""The one error of a bench."""


class BenchError(Exception):
    """Nothing could be measured, or what was measured doesn't count; the text says why."""
