"""The page of the command line, out of what the verbs' own parsers know."""

import argparse
import importlib
from collections.abc import Iterable

from meshnode.cli.parser import Verb, parser_of
from meshnode.cli.verbs import GROUPS
from tools.reference.paper import book, code, fence, head, sentence, table

_ABOUT = """\
`meshnode [-C DIR] VERB ...`: `-C DIR` picks the node by its data directory (else `MESHNODE_DIR`, else `~/.meshnode`),
before or behind the verb. `meshnode VERB --help` tells the same as this page."""
_CODES = {
    "0": "done", "1": "failed", "2": "the command line is wrong", "3": "there is no such thing", "4": "not allowed",
    "5": "done in part", "6": "no daemon answers, or nobody who is needed can be reached", "124": "not within its time",
    "130": "ended by Ctrl-C", "141": "whoever read the output has had enough",
}  # fmt: skip
_EVERYWHERE = ("-h", "-C")


def page() -> str:
    lines = head("The command line", _ABOUT)
    for group, verbs in GROUPS.items():
        lines += [f"## {group}", ""]
        for verb, (module, summary) in verbs.items():
            lines += _verb(verb, module, summary)
    lines += ["## Exit codes", "", *table(("code", "meaning"), _CODES.items())]
    return book(lines)


def _verb(name: str, module: str, summary: str) -> Iterable[str]:
    known: Verb = importlib.import_module(f"meshnode.cli.{module}").VERBS[name]
    parser = parser_of(name, summary)
    known.options(parser)
    places = [action for action in parser.arguments if not action.option_strings]
    options = [
        action for action in parser.arguments if not {*action.option_strings} & {*_EVERYWHERE} and action not in places
    ]
    usage = " ".join(
        [
            f"meshnode {name}",
            *(["[OPTION ...]"] if options else []),
            *map(_place, places),
            *(["-- ..."] if known.dashed else []),
        ]
    )
    rows = [
        *((code(_metavar(action)), _meaning(action)) for action in places if action.help or action.choices),
        *(
            (", ".join(code(_option(action, option)) for option in action.option_strings), _meaning(action))
            for action in options
        ),
    ]
    yield from [f"### {name}", "", sentence(summary), "", *fence("text", [usage])]
    yield from table(("", "meaning"), rows)
    if parser.epilog:
        yield from [sentence(parser.epilog), ""]


def _place(action: argparse.Action) -> str:
    word = _metavar(action)
    match action.nargs:
        case "?":
            return f"[{word}]"
        case "*":
            return f"[{word} ...]"
        case "+":
            return f"{word} ..."
        case _:
            return word


def _option(action: argparse.Action, option: str) -> str:
    if action.nargs == 0:
        return option
    many = " ..." if action.nargs in ("+", "*") else ""
    return f"{option} {_metavar(action)}{many}"


def _metavar(action: argparse.Action) -> str:
    if isinstance(action.metavar, str):
        return action.metavar
    if action.choices:
        return "|".join(map(str, action.choices))
    return action.dest.upper()


def _meaning(action: argparse.Action) -> str:
    notes = [action.help or ""]
    if action.required and action.option_strings:
        notes.append("needed")
    return "; ".join(note for note in notes if note)
