"""JSON Schemas and descriptions, read from type hints and docstrings."""

from typing import Any

import msgspec


def schema_of(name: str, of: Any) -> str:  # noqa: ANN401 - a type or a form of typing
    try:
        schema = msgspec.json.schema(of, schema_hook=_schema_of_class)
    except TypeError as error:
        raise TypeError(f"skill {name}: {error}; use plain types, dataclasses or msgspec Structs") from error
    return msgspec.json.encode(_inlined(schema)).decode()


def _schema_of_class(of: type) -> dict[str, Any]:
    if of is object:
        return {"description": "any JSON value"}
    raise TypeError(f"type {of.__name__} has no JSON Schema")


def _inlined(schema: dict[str, Any]) -> dict[str, Any]:
    """The top type in place rather than by reference: other tools want ``"type": "object"`` there."""
    reference = schema.get("$ref", "")
    definitions = dict(schema.get("$defs", {}))
    top = definitions.pop(reference.rpartition("/")[2], None)
    if top is None or f'"{reference}"' in msgspec.json.encode([top, definitions]).decode():
        return schema  # it refers to itself
    return {**top, "$defs": definitions} if definitions else top


def read_docstring(text: str) -> tuple[str, dict[str, str]]:
    """The first paragraph, and what an ``Args:`` section says of each parameter."""
    lines = [line.strip() for line in text.strip().splitlines()]
    first = lines.index("") if "" in lines else len(lines)
    described: dict[str, str] = {}
    last = ""
    for line in lines[lines.index("Args:") + 1 :] if "Args:" in lines else []:
        if not line:
            break
        parameter, colon, words = line.partition(":")
        if colon and parameter.isidentifier():
            last, described[parameter] = parameter, words.strip()
        elif last:
            described[last] += " " + line
    return " ".join(lines[:first]), described
