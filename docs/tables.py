"""Markdown tables, and those of a JSON schema: what the reference is written with."""

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

Schema = Mapping[str, Any]


def table(columns: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """A Markdown table, with a newline at its end."""
    lines = [list(columns)]
    lines += [["---"] * len(lines[0]), *map(list, rows)]
    return "".join(f"| {' | '.join(map(_cell, line))} |\n" for line in lines)


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def fields(schema: Schema) -> str:
    """The fields of an object: name, kind, default, what for."""
    needed = schema.get("required", ())
    return table(
        ("field", "kind", "default", ""),
        (
            (
                f"`{name}`",
                kind(field),
                "required" if name in needed else shown(field.get("default")),
                field.get("description", ""),
            )
            for name, field in schema["properties"].items()
        ),
    )


def part(name: str, schema: Schema) -> str:
    """A section for one named schema, whose heading links lead to."""
    content = fields(schema) if "properties" in schema else f"{kind(schema)}\n"
    said = f"{schema['description'].strip()}\n\n" if schema.get("description") else ""
    return f"### {name}\n\n{said}{content}\n"


def shown(value: object) -> str:
    """A default, as it is written in JSON."""
    return "" if value is None else f"`{str(value).lower() if isinstance(value, bool) else value}`"


def kind(schema: Schema) -> str:
    """A type with its limits, in a few words; objects that have a name are linked."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if either := schema.get("anyOf") or schema.get("oneOf"):
        return " or ".join(map(kind, either))
    if "enum" in schema or "const" in schema:
        return ", ".join(f"`{value}`" for value in schema.get("enum", [schema.get("const")]))
    named: str = schema.get("type", "anything")
    return " ".join((named, *_parts(schema), *_limits(schema)))


def _parts(schema: Schema) -> Iterator[str]:
    if "items" in schema:
        yield f"of {_inner(schema['items'])}"
    if "prefixItems" in schema:
        yield f"of {', '.join(map(kind, schema['prefixItems']))}"
    values = [schema.get("additionalProperties"), *schema.get("patternProperties", {}).values()]
    keys = schema.get("propertyNames", {})
    for value in values:
        if isinstance(value, Mapping):
            yield f"{f'by {kind(keys)}, ' if 'enum' in keys else ''}of {_inner(value)}"


def _inner(schema: Schema) -> str:
    text = kind(schema)
    return f"({text})" if " or " in text else text


def _limits(schema: Schema) -> Iterator[str]:
    above = schema.get("exclusiveMinimum")
    least, most = schema.get("minimum"), schema.get("maximum")
    if above is not None:
        yield f"above {_number(above)}"
    if least is not None:
        yield f"from {_number(least)}"
    if most is not None:
        yield f"{'to' if least is not None else 'up to'} {_number(most)}"
    if "maxLength" in schema:
        yield f"of {schema.get('minLength', 0)} to {schema['maxLength']:,} characters"
    if "pattern" in schema:
        yield f"`{schema['pattern']}`"


def _number(value: float) -> str:
    return f"{int(value):,}" if value == int(value) else f"{value:g}"
