"""Parsing of one verb's own arguments, with errors of our shape."""

import argparse
import shlex
import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, NoReturn

from meshnode.model.errors import Invalid

if TYPE_CHECKING:
    from meshnode.client.client import Client

DEADLINE_S_MAX = 86_400.0
FORMATS = ("table", "wide", "json", "yaml", "name", "jsonl")
Given = argparse.Namespace


class Parser(argparse.ArgumentParser):
    """argparse, raising ``Invalid`` where it would print its usage and leave."""

    def error(self, message: str) -> NoReturn:
        raise Invalid(f"{self.prog}: {message}", next_step=f"{self.prog} --help")

    @property
    def arguments(self) -> list[argparse.Action]:
        """All there are, for whoever describes them."""
        return list(self._actions)

    @property
    def takes(self) -> dict[str, tuple[str, ...]]:
        """Options that take a value, with the values there are (empty: any)."""
        return {
            name: _choices(action) for action in self._actions if action.nargs != 0 for name in action.option_strings
        }

    @property
    def flags(self) -> list[str]:
        """Options that take none."""
        return [name for action in self._actions if action.nargs == 0 for name in action.option_strings]

    @property
    def places(self) -> list[tuple[str, ...]]:
        """The words without a dash, in order, with the choices there are (empty: any)."""
        return [_choices(action) for action in self._actions if not action.option_strings]


def _choices(action: argparse.Action) -> tuple[str, ...]:
    return tuple(str(choice) for choice in action.choices or ())


@dataclass(frozen=True, kw_only=True, slots=True)
class Verb:
    """One verb: how its arguments are read, and what it does. ``run`` returns the exit code.

    ``dashed``: takes words of another program behind ``--``.
    """

    options: Callable[[Parser], None]
    run: Callable[[Given], int]
    dashed: bool = False


def parser_of(name: str, summary: str) -> Parser:
    parser = Parser(prog=f"meshnode {name}", description=summary, allow_abbrev=False)
    parser.add_argument("-C", dest="directory", metavar="DIR", default=argparse.SUPPRESS, help="the node's directory")
    return parser


def parse(parser: Parser, argv: list[str], *, dashed: bool) -> Given:
    """Options and names in any order; what stands behind ``--`` becomes ``given.dashed``."""
    at = argv.index("--") if "--" in argv else len(argv)
    behind = argv[at + 1 :]
    if behind and not dashed:
        parser.error("takes nothing behind --")
    parser.set_defaults(dashed=behind)
    return parser.parse_intermixed_args(argv[:at])


def output_option(parser: Parser) -> None:
    parser.add_argument("-o", dest="output", choices=FORMATS, default="table", help="output format (default: table)")


def watch_option(parser: Parser) -> None:
    output_option(parser)
    parser.add_argument(
        "-w", dest="watch", action="store_true", help="go on: documents as they change, all else every two seconds"
    )


def deadline(text: str) -> float:
    seconds = float(text)
    if not 0.0 < seconds <= DEADLINE_S_MAX:
        raise ValueError(text)
    return seconds


deadline.__name__ = "SECONDS"  # argparse names the rule by it


def client_of(given: Given) -> "Client":
    from meshnode.client.client import Client

    return Client(directory_of(given))


def directory_of(given: Given) -> str | None:
    return given.directory or None


def command(given: Given, words: str) -> str:
    """A command for the same node, as the person would type it."""
    here = directory_of(given)
    return f"meshnode -C {shlex.quote(here)} {words}" if here else f"meshnode {words}"


def warn(line: str) -> None:
    """A line for the person, beside the output."""
    print(line, file=sys.stderr)
