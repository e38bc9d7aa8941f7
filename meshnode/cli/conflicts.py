"""conflicts: what was written at the same time, all of it kept; and resolve, which settles one field by a new write."""

import json

from meshnode.cli import rows
from meshnode.cli.output import show_list, show_one
from meshnode.cli.parser import Given, Parser, Verb, client_of, command, output_option
from meshnode.cli.record import document_kind, named, shown
from meshnode.cli.table import Column
from meshnode.cli.words import one_line
from meshnode.model.errors import Invalid
from meshnode.model.view_parts import ConflictView

ACTIONS = ("list", "resolve")

_COLUMNS: tuple[Column[ConflictView], ...] = (
    Column(title="SUBJECT", cell=rows.conflict_subject),
    Column(title="FIELD", cell=lambda c: c.field),
    Column(title="IN FORCE", cell=lambda c: _value(c, 0)),
    Column(title="ALSO WRITTEN", cell=lambda c: "; ".join(_value(c, n) for n in range(1, len(c.values)))),
)


def _conflicts(given: Given) -> int:
    return _resolve(given) if given.action == "resolve" else _list(given)


def _list(given: Given) -> int:
    if given.words or given.pick is not None or given.value is not None:
        raise Invalid("conflicts: these words belong to resolve", next_step="meshnode conflicts --help")
    show_list(given, client_of(given).conflicts(), _COLUMNS, rows.conflict_name, empty="no conflicts")
    return 0


def _value(conflict: ConflictView, number: int) -> str:
    if number >= len(conflict.values):
        return ""
    writer = conflict.writers[number] if number < len(conflict.writers) else "?"
    return f"{json.dumps(conflict.values[number])} by {writer}"


def _resolve(given: Given) -> int:
    if len(given.words) != 3:
        raise Invalid(
            "conflicts resolve: which field of what? KIND NAME FIELD",
            next_step=command(given, "conflicts shows them, then conflicts resolve KIND NAME FIELD --pick N"),
        )
    word, name, field = given.words
    found = document_kind(word)
    if found is None:
        raise Invalid(
            f"{word} is no kind of documents",
            next_step="kinds of documents: agents, agentclusters (clusters), nodes, policies",
        )
    if (given.pick is None) == (given.value is None):
        raise Invalid(
            "conflicts resolve: --pick N takes one of the values that meshnode conflicts shows, --set JSON another",
            next_step=command(given, f"conflicts resolve {word} {name} {field} --pick 1"),
        )
    document, kind = found
    names = (document, *kind.place(name, given.namespace))
    value = None if given.value is None else _json(given.value)
    done = client_of(given).resolve(*names, field, pick=given.pick or 0, value=value)
    said = f"pick {given.pick}" if given.pick is not None else shown(value)
    show_one(given, done, lambda: [one_line(f"{named(names)} {field}: {said} ({done.action})")], named(names))
    return 0


def _json(text: str) -> object:
    """JSON, and a bare word as itself."""
    try:
        return json.loads(text)
    except ValueError:
        if text.strip("\"'[]{} ") == text and text:
            return text
        raise Invalid(f"--set {text}: is no JSON", next_step="for example --set 3, --set '\"eu\"'") from None


def _pick(text: str) -> int:
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


_pick.__name__ = "number"  # argparse names the rule by it


def _options(parser: Parser) -> None:
    parser.add_argument("action", nargs="?", choices=ACTIONS, default="list", help="default: list")
    parser.add_argument("words", metavar="KIND NAME FIELD", nargs="*", help="of resolve: which field of what")
    parser.add_argument("--pick", metavar="N", type=_pick, default=None, help="of resolve: value N, 1 is in force")
    parser.add_argument("--set", dest="value", metavar="JSON", default=None, help="of resolve: another value")
    parser.add_argument("-n", dest="namespace", metavar="NAMESPACE", default="default", help="of the document")
    output_option(parser)


VERBS = {"conflicts": Verb(options=_options, run=_conflicts)}
