"""The page of the kinds of documents, out of their schemas."""

from collections.abc import Iterable

from meshnode.cli.output import yaml_of
from meshnode.model.commands import JsonObject
from meshnode.model.explained import Told, everything
from meshnode.model.schemas import SCHEMAS
from tools.reference.paper import book, code, fence, head, table
from tools.reference.sample import shown

_ABOUT = """\
What may stand in a manifest (`meshnode apply -f FILE`). `meshnode explain KIND.FIELD` tells the same, and
`meshnode explain KIND -o json` is the JSON Schema, for editors. A field that is not listed is refused, with its line
and what it may have meant. Steps of a path that no manifest has: `[]` is an entry of a list, `*` a key of your choice.

*Quantities* are written as Kubernetes does: `"2"`, `"500m"`, `"4Gi"`. *Shares* are above 0 and at most 1: `"70%"`."""


def page() -> str:
    lines = head("Kinds", _ABOUT)
    for kind, schema in SCHEMAS.items():
        lines += _kind(kind, schema)
    return book(lines)


def _kind(kind: str, schema: JsonObject) -> Iterable[str]:
    whole, *fields = everything(kind)
    yield from [f"## {kind}", "", whole.meaning, ""]
    yield from table(("field", "type", "meaning"), ((code(told.path), _type(told), _meaning(told)) for told in fields))
    for example in schema["examples"]:
        yield from fence("yaml", yaml_of(example).splitlines())


def _type(told: Told) -> str:
    return f"{told.type}, required" if told.required else told.type


def _meaning(told: Told) -> str:
    notes = [told.meaning]
    if len(told.choices) > 1:
        notes.append(f"One of {', '.join(map(code, told.choices))}.")
    if told.default is not None:
        shown = str(told.default).lower() if isinstance(told.default, bool) else str(told.default)
        notes.append(f"Default: {code(shown)}.")
    if told.examples:
        notes.append(f"Like {', '.join(code(_short(example)) for example in told.examples)}.")
    return " ".join(notes)


def _short(value: object) -> str:
    return value if isinstance(value, str) else shown(value)
