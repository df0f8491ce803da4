"""What every table of a recipe is: read strictly, frozen, no unknown keys."""

from typing import Annotated

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidatorFunctionWrapHandler,
    WrapValidator,
)

from distill.errors import DistillError

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9][a-z0-9._-]{0,63}$")]
Share = Annotated[float, Field(ge=0.0, le=1.0)]


def _refusal_as_value_error(value: object, check: ValidatorFunctionWrapHandler) -> object:
    """So that pydantic says in which table a value stands that an options class refuses."""
    try:
        return check(value)
    except DistillError as error:
        raise ValueError(str(error)) from error


# Of a field that is an options class.
checked = WrapValidator(_refusal_as_value_error)


class Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, allow_inf_nan=False)
