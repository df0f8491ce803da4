"""What the OpenAPI document says of every endpoint alike: bodies, and problem documents."""

from typing import Any

from pydantic import BaseModel

from service.schemas import Problem

PROBLEM: dict[str, Any] = {
    "description": Problem.__doc__,
    "content": {"application/problem+json": {"schema": Problem.model_json_schema()}},
}
ERRORS: dict[int | str, dict[str, Any]] = dict.fromkeys(
    (400, 404, 413, 415, 422, 429, 503), PROBLEM
)


def json_body(model: type[BaseModel]) -> dict[str, object]:
    """OpenAPI request body; the handler reads the bytes itself, in one pass."""
    content = {"application/json": {"schema": model.model_json_schema()}}
    return {"requestBody": {"required": True, "content": content}}
