"""``explain KIND[.FIELD]``: what may stand in a manifest, from the schemas of the kinds. Needs no node."""

import msgspec

from meshnode.cli.kinds import kind_of
from meshnode.cli.output import json_of, show_list, yaml_of
from meshnode.cli.parser import Given, Parser, Verb, output_option
from meshnode.cli.table import Column
from meshnode.model.commands import JsonObject
from meshnode.model.errors import Invalid
from meshnode.model.explained import Told, at, below
from meshnode.model.schemas import SCHEMAS

_KINDS: tuple[Column[Told], ...] = (
    Column(title="KIND", cell=lambda told: told.path),
    Column(title="MEANING", cell=lambda told: told.meaning),
)


def _explain(given: Given) -> int:
    said: str = given.field
    if not said:
        kinds = [Told(kind, "mapping", schema["description"]) for kind, schema in SCHEMAS.items()]
        show_list(given, kinds, _KINDS, lambda told: told.path)
        return 0
    word, _, path = said.partition(".")
    kind = declared(word)
    told, schema = at(kind, path)
    match given.output:
        case "json":
            print(json_of(schema))
        case "yaml":
            print(yaml_of(schema))
        case "jsonl":
            print("\n".join(msgspec.json.encode(one).decode() for one in _fields(told, schema)))
        case "name":
            print("\n".join(_name(kind, one) for one in _fields(told, schema)))
        case _:
            print("\n".join(_lines(kind, told, schema)))
    return 0


def _fields(told: Told, schema: JsonObject) -> list[Told]:
    """The fields of a mapping; of a field without any: itself."""
    return [one for one, _ in below(schema, told.path)] or [told]


def _name(kind: str, told: Told) -> str:
    return f"{kind}.{told.path}" if told.path else kind


def declared(word: str) -> str:
    """Any spelling of a kind that manifests have.

    Raises:
        Invalid: none is of that kind.
    """
    known = kind_of(word).word
    for kind in SCHEMAS:
        if kind.lower() == known:
            return kind
    raise Invalid(f"{word}: no manifest is of that kind", next_step=f"kinds of manifests: {', '.join(SCHEMAS)}")


def _lines(kind: str, told: Told, schema: JsonObject) -> list[str]:
    lines = [f"{_name(kind, told)}: {_type(told)}", f"  {told.meaning}"]
    fields = [one for one, _ in below(schema, told.path)]
    if fields:
        names = [one.path.rpartition(".")[2] for one in fields]
        width = max(map(len, names))
        lines.append("")
        for name, one in zip(names, fields, strict=True):
            lines.append(f"  {name:<{width}}  {_type(one)}")
            lines.append(f"  {'':<{width}}    {one.meaning}")
    for example in told.examples:
        lines += ["", "example:", *(f"  {line}" for line in yaml_of(_shown(told, example)).splitlines())]
    return lines


def _type(told: Told) -> str:
    notes = [told.type]
    if told.choices:
        notes = [" or ".join(told.choices)]
    if told.required and told.path:
        notes.append("required")
    if told.default is not None:
        notes.append(f"default {str(told.default).lower() if isinstance(told.default, bool) else told.default}")
    return ", ".join(notes)


def _shown(told: Told, example: object) -> object:
    """As it stands in a manifest: behind its name."""
    name = told.path.rpartition(".")[2].removesuffix("[]")
    return {name: example} if name else example


def _options(parser: Parser) -> None:
    output_option(parser)
    parser.add_argument(
        "field", metavar="KIND[.FIELD]", nargs="?", default="",
        help="Agent, AgentCluster.spec.agents; without one: the kinds. -o json is the JSON Schema",
    )  # fmt: skip


VERBS = {"explain": Verb(options=_options, run=_explain)}
