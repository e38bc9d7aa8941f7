"""The one walker over the sources of this house: every rule about code asks it.

Trees are not kept, they are many times as large as the sources: a rule names a word without which a file does not
matter to it, and most are never parsed.
"""

import ast
import functools
from collections.abc import Iterator
from pathlib import Path
from typing import TypeVar

from tests.docs_kit.reading import ROOT

TOPS = ("meshnode", "cloud_gateway", "hw", "bench", "examples", "tests", "tools")
INSTALLED = ("node_modules", "site-packages")  # by the page, and by benches for their anchors
NodeT = TypeVar("NodeT", bound=ast.AST)


def sources(*tops: str, holding: str = "") -> tuple[Path, ...]:
    """All that we wrote, or what is below some folders of it, or of that the files that hold a word."""
    return tuple(path for path in _sources(tops or TOPS) if not holding or holding in path.read_text())


@functools.cache
def _sources(tops: tuple[str, ...]) -> tuple[Path, ...]:
    found = (path for top in tops for path in (ROOT / top).rglob("*.py"))
    return tuple(sorted(path for path in found if not any(part in INSTALLED for part in path.parts)))


@functools.lru_cache(maxsize=1)
def tree(source: str) -> ast.Module:
    return ast.parse(source)


def every(kind: type[NodeT] | tuple[type[NodeT], ...], within: ast.AST) -> Iterator[NodeT]:
    """All of one kind, however deep."""
    return (node for node in ast.walk(within) if isinstance(node, kind))


def called(call: ast.Call) -> str:
    """The last name of who is called: ``f`` of ``f()`` and of ``x.f()``, "" for what has none."""
    return call.func.attr if isinstance(call.func, ast.Attribute) else getattr(call.func, "id", "")


def texts(value: ast.expr) -> Iterator[str]:
    """What a text may be, "*" for what is put in; nothing where it is no text."""
    match value:
        case ast.Constant(value=str() as text):
            yield text
        case ast.JoinedStr(values=parts):
            yield "".join(str(part.value) if isinstance(part, ast.Constant) else "*" for part in parts)
        case ast.IfExp(body=one, orelse=other):
            yield from (*texts(one), *texts(other))
        case _:
            pass


def place(path: Path, node: ast.expr | ast.stmt) -> str:
    return f"{name_of(path)}:{node.lineno}"


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT))
