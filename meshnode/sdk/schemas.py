"""JSON Schemas and descriptions, read from type hints and docstrings.

The schemas are msgspec's. Those of plain types are written down here as well, equal to the letter: every agent needs
them at its start, and the general way costs it milliseconds and a third of a megabyte.
"""

from types import GenericAlias
from typing import Annotated, Any, get_args, get_origin

import msgspec

# The module that structs made of parameters claim to come from.
ARGUMENTS = "arguments of a skill"

_PLAIN: dict[object, dict[str, Any]] = {
    Any: {},
    object: {"description": "any JSON value"},
    str: {"type": "string"},
    int: {"type": "integer"},
    float: {"type": "number"},
    bool: {"type": "boolean"},
    None: {"type": "null"},
    type(None): {"type": "null"},
    list: {"type": "array"},
    dict: {"type": "object"},
}


def schema_of(name: str, of: Any) -> str:  # noqa: ANN401 - a type or a form of typing
    plain = _plain(of)
    if plain is None and isinstance(of, type) and issubclass(of, msgspec.Struct):
        plain = _plain_arguments(of)
    if plain is not None:
        return msgspec.json.encode(plain).decode()
    try:
        schema = msgspec.json.schema(of, schema_hook=_schema_of_class)
    except TypeError as error:
        raise TypeError(f"skill {name}: {error}; use plain types, dataclasses or msgspec Structs") from error
    return msgspec.json.encode(_inlined(schema)).decode()


def is_plain(of: object) -> bool:
    """A type that is written down here, or made of such: nothing can be wrong with it."""
    return _plain(of) is not None


def _plain(of: object) -> dict[str, Any] | None:
    """The schema of a plain type; ``None``: it is not that plain."""
    if isinstance(of, GenericAlias):
        origin, inner = of.__origin__, of.__args__
        schema = _plain(inner[-1])
        if schema is None:
            return None
        if origin is list:
            return {"type": "array", "items": schema} if schema else {"type": "array"}
        if origin is dict and inner[0] is str:
            return {"type": "object", "additionalProperties": schema} if schema else {"type": "object"}
        return None
    try:
        return _PLAIN.get(of)
    except TypeError:  # not hashable
        return None


def _plain_arguments(of: type[msgspec.Struct]) -> dict[str, Any] | None:
    """The schema of the parameters of a skill (and of no other struct: those are referred to by name)."""
    if of.__module__ != ARGUMENTS or of.__doc__:
        return None
    properties: dict[str, dict[str, Any]] = {}
    required: list[str] = []
    for field in msgspec.structs.fields(of):
        words = ""
        hint: object = field.type
        if get_origin(hint) is Annotated:
            hint, meta, *more = get_args(hint)
            if more or not isinstance(meta, msgspec.Meta) or meta != msgspec.Meta(description=meta.description):
                return None
            words = meta.description or ""
        schema = _plain(hint)
        if schema is None or field.default_factory is not msgspec.NODEFAULT:
            return None
        default: dict[str, object] = {}
        if field.default is msgspec.NODEFAULT:
            required.append(field.name)
        elif field.default is None or type(field.default) in (str, int, bool):
            default = {"default": field.default}
        else:
            return None
        properties[field.name] = {**schema, **({"description": words} if words else {}), **default}
    return {
        "title": of.__name__,
        "type": "object",
        "properties": properties,
        "required": required,
        "additionalProperties": False,
    }


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
