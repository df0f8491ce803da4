"""Ranges that the fields of options must lie in; a refusal names the field."""

from collections.abc import Mapping

from distill.errors import DistillError, TrainingRefused


def at_least(
    options: object, least: Mapping[str, float], refused: type[DistillError] = TrainingRefused
) -> None:
    """Refuses fields below their least value; None, where nobody has chosen, is none.

    Raises:
        DistillError: `refused`.
    """
    for name, bound in least.items():
        value = getattr(options, name)
        if value is not None and value < bound:
            raise refused(f"{name}: expected at least {bound}, got {value}")


def above_0_below_1(options: object, *names: str) -> None:
    """Refuses fields outside (0, 1).

    Raises:
        TrainingRefused: the first of them.
    """
    for name in names:
        if not 0.0 < getattr(options, name) < 1.0:
            raise TrainingRefused(
                f"{name}: expected above 0 and below 1, got {getattr(options, name)}"
            )


def from_0_below_1(options: object, *names: str) -> None:
    """Refuses fields outside [0, 1).

    Raises:
        TrainingRefused: the first of them.
    """
    for name in names:
        if not 0.0 <= getattr(options, name) < 1.0:
            raise TrainingRefused(f"{name}: expected 0 to below 1, got {getattr(options, name)}")


def above_0(options: object, *names: str) -> None:
    """Refuses fields that are 0 or less, or no number.

    Raises:
        TrainingRefused: the first of them.
    """
    for name in names:
        if not getattr(options, name) > 0.0:
            raise TrainingRefused(f"{name}: expected above 0, got {getattr(options, name)}")
