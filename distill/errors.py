"""Every error that distillation raises; nothing here imports torch.

DistillError
 +-- TrainingRefused     options or data with which training makes no sense
"""


class DistillError(Exception):
    """Base of the errors below; its text is meant for the person who has to act."""


class TrainingRefused(DistillError):
    """Options or data with which training makes no sense; the text says what to change."""
