"""One field of a kind, as people are told it: made from the schemas."""

import msgspec

from meshnode.model.commands import JsonObject
from meshnode.model.errors import NotFound
from meshnode.model.schemas import QUANTITY, SCHEMAS, SHARE

_WORDS = {"string": "text", "integer": "number", "boolean": "true or false", "object": "mapping", "array": "list"}
_PLURALS = {"text": "texts", "quantity": "quantities", "true or false": "truth values"}
# Steps of a path that no document has: an entry of a list, a key that people choose.
ENTRY, ANY_KEY = "[]", "*"


class Told(msgspec.Struct, frozen=True):
    """``path``: ``spec.agents[].name``, "" for the document; ``examples`` are values of it."""

    path: str
    type: str
    meaning: str
    required: bool = False
    default: JsonObject | str | int | bool | None = None
    choices: tuple[str, ...] = ()
    examples: tuple[object, ...] = ()


def at(kind: str, path: str) -> tuple[Told, JsonObject]:
    """A field and its schema. ``path``: as in a manifest (``spec.agents.name``); ``[]`` and keys may stand in it.

    Raises:
        NotFound: there is no such field; it names those that are there.
    """
    schema, said, required = SCHEMAS[kind], "", True
    for step in path.replace(ENTRY, "").split(".") if path else []:
        around, here = _inner(schema, said)
        fields: JsonObject = around.get("properties", {})
        if step in fields:
            required = step in around.get("required", [])
            schema, said = fields[step], f"{here}.{step}".removeprefix(".")
        elif _keyed(around):
            required = False
            schema, said = around["additionalProperties"], f"{here}.{ANY_KEY}".removeprefix(".")
        else:
            place = ".".join([kind, *([said] if said else [])])
            known = (
                f"known there: {', '.join(fields)}" if fields else f"it is {type_of(schema)}: meshnode explain {place}"
            )
            raise NotFound(f"{place} has no field {step}", next_step=known)
    return _told(said, schema, required=required), schema


def below(schema: JsonObject, said: str = "") -> list[tuple[Told, JsonObject]]:
    """The fields of a mapping, of the entries of a list, or of what a mapping with own keys leads to."""
    around, here = _inner(schema, said)
    while _keyed(around):
        around, here = _inner(around["additionalProperties"], f"{here}.{ANY_KEY}".removeprefix("."))
    fields: JsonObject = around.get("properties", {})
    required = around.get("required", [])
    return [
        (_told(f"{here}.{name}".removeprefix("."), field, required=name in required), field)
        for name, field in fields.items()
    ]


def everything(kind: str) -> list[Told]:
    """Every field of a kind, in order, fields of fields behind their own."""
    return [_told("", SCHEMAS[kind], required=True), *_deep(SCHEMAS[kind], "")]


def _deep(schema: JsonObject, said: str) -> list[Told]:
    found: list[Told] = []
    for told, field in below(schema, said):
        found += [told, *_deep(field, told.path)]
    return found


def type_of(schema: JsonObject) -> str:
    """The type in a word for people."""
    if schema.get("pattern") == QUANTITY:
        return "quantity"
    if schema.get("pattern") == SHARE:
        return "share"
    if "items" in schema:
        return f"list of {_plural(type_of(schema['items']))}"
    if _keyed(schema):
        return f"mapping to {_plural(type_of(schema['additionalProperties']))}"
    return _WORDS[schema["type"]]


def _plural(word: str) -> str:
    return _PLURALS.get(word, f"{word}s")


def _keyed(schema: JsonObject) -> bool:
    """Whether people choose the keys."""
    return bool(schema.get("additionalProperties"))


def _inner(schema: JsonObject, said: str) -> tuple[JsonObject, str]:
    """What the entries of a list are, however deep; anything else is itself."""
    while "items" in schema:
        schema, said = schema["items"], said + ENTRY
    return schema, said


def _told(path: str, schema: JsonObject, *, required: bool) -> Told:
    return Told(
        path=path,
        type=type_of(schema),
        meaning=schema["description"],
        required=required,
        default=schema.get("default"),
        choices=tuple(schema.get("enum", ())),
        examples=tuple(schema.get("examples", ())),
    )
