"""What is not run as it stands, each with its reason; all else in the documents is."""

import importlib
import re
import shlex
from typing import NamedTuple

from meshnode.cli.parser import Verb, parse, parser_of
from meshnode.cli.verbs import VERBS, split


class Instead(NamedTuple):
    """``pattern`` becomes ``by`` in a command; ``by`` "": its words are only parsed, by the verb's own parser."""

    pattern: re.Pattern[str]
    by: str
    why: str


INSTEAD = (
    Instead(re.compile(r"\bmake (?=[a-z])"), "make -n ", "sets up, tests or plays for minutes, and would start itself"),
    Instead(
        re.compile(r"^meshnode .*--store postgresql://"), "", "needs a server; tests/gateway/ runs it on a real one"
    ),
    Instead(re.compile(r"\b7900\b"), "{port}", "another program of the machine may have the port"),
    Instead(re.compile(r"^meshnode top\b"), "{terminal} meshnode top", "needs a terminal, which a test has to bring"),
)
# What goes on until it is told to end: what it must have printed before that is done.
ENDLESS = (
    (re.compile(r"^meshnode (-C \S+ )?(gateway|ui)\b"), re.compile(r"^ready  https?://\S+:\d+/", re.MULTILINE)),
    (re.compile(r"^meshnode (-C \S+ )?up .*--foreground\b"), re.compile(r"ready")),
    (re.compile(r"^meshnode (-C \S+ )?top\b"), re.compile(r"reachable")),
    (
        re.compile(r"^meshnode (-C \S+ )?(events|logs)\b.* -f\b"),
        re.compile(r"^\d{4}-\d\d-\d\d \d\d:\d\d", re.MULTILINE),
    ),
)


def instead_of(command: str) -> list[Instead]:
    return [each for each in INSTEAD if each.pattern.search(command)]


def parsed(command: str) -> None:
    """Raises ``LocalError``, or KeyError for a verb that there is not: the command line would be refused."""
    _, name, rest = split(shlex.split(command, comments=True)[1:])
    module, summary = VERBS[name]
    known: Verb = importlib.import_module(f"meshnode.cli.{module}").VERBS[name]
    parser = parser_of(name, summary)
    known.options(parser)
    parse(parser, rest, dashed=known.dashed)


def unknown_words(span: str) -> list[str]:
    """Of a command in a sentence, with whatever placeholders: its verb or options, where there are no such."""
    _, name, rest = split(span.split()[1:])
    if name.startswith(("-", "[")) or name in ("", "VERB", "help"):
        return []
    if name not in VERBS:
        return [name]
    module, summary = VERBS[name]
    known: Verb = importlib.import_module(f"meshnode.cli.{module}").VERBS[name]
    parser = parser_of(name, summary)
    known.options(parser)
    options = {*parser.takes, *parser.flags}
    return [word for word in rest if word.startswith("-") and word.partition("=")[0] not in options]
