"""Whoever is told what to do next can do it: each command that an error names is one."""

import ast
import re
from collections.abc import Iterator

from meshnode.cli.state import ACTIONS
from meshnode.cli.verbs import VERBS
from tests.house.syntax import every, name_of, sources, texts, tree

# A verb, and of ``state`` what to do with it.
COMMAND = re.compile(r"\bmeshnode (?:-C \S+ )?([a-z]+)(?: ([a-z]+))?")


def told(source: str) -> Iterator[tuple[int, str]]:
    """Line and text of each next step; "*" for what is put in."""
    for call in every(ast.Call, tree(source)):
        for each in call.keywords:
            if each.arg == "next_step":
                yield from ((each.value.lineno, text) for text in _texts(each.value))


def _texts(value: ast.expr) -> Iterator[str]:
    match value:
        case ast.IfExp(body=one, orelse=other):
            yield from (*_texts(one), *_texts(other))
        case ast.Call(func=ast.Name(id="command"), args=[_, said]):  # of the command line, with its options
            yield from (f"meshnode {text}" for text in texts(said))
        case _:
            yield from texts(value)


def unknown(source: str) -> list[str]:
    """Commands of next steps that nobody can type."""
    found: list[str] = []
    for line, text in told(source):
        for verb, action in COMMAND.findall(text):
            known = verb in VERBS and (verb != "state" or not action or action in ACTIONS)
            found += [] if known else [f"{line}: meshnode {verb} {action}".strip()]
    return found


def test_each_command_that_an_error_names_is_one() -> None:
    read = {name_of(path): path.read_text() for path in sources("meshnode", holding="next_step")}
    assert sum(1 for source in read.values() for _ in told(source)) > 100
    assert [f"{path}:{each}" for path, source in read.items() for each in unknown(source)] == []


def test_a_command_that_is_none_is_noticed() -> None:
    assert unknown('raise Broken("x", next_step="meshnode doctor")') == ["1: meshnode doctor"]
    assert unknown('raise Broken("x", next_step=f"meshnode state heal {unit}")') == ["1: meshnode state heal"]
    assert unknown('raise Broken("x", next_step=command(given, f"scales {unit}"))') == ["1: meshnode scales"]
    assert unknown('raise Broken("x", next_step="meshnode state verify")') == []
