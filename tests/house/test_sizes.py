"""The house keeps its measure: no file or function swallows the rest, no package is empty."""

import ast
import functools
from typing import NamedTuple

from tests.docs_kit.reading import ROOT
from tests.house.syntax import every, name_of, sources, tree

FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60


class Measured(NamedTuple):
    """``lines``: of the file; ``functions``: name and lines of each; ``told``: whether it says what it is for."""

    lines: int
    functions: list[tuple[str, int]]
    told: bool


@functools.cache
def measured() -> dict[str, Measured]:
    """Every source is parsed once."""
    return {name_of(path): _measured(path.read_text()) for path in sources()}


def _measured(source: str) -> Measured:
    module = tree(source)
    functions = every((ast.FunctionDef, ast.AsyncFunctionDef), module)
    lines = [(each.name, (each.end_lineno or each.lineno) - each.lineno + 1) for each in functions]
    return Measured(len(source.splitlines()), lines, bool(ast.get_docstring(module)))


def test_no_file_is_longer_than_500_lines() -> None:
    assert {name: found.lines for name, found in measured().items() if found.lines > FILE_LINES_MAX} == {}


def test_no_function_is_longer_than_60_lines() -> None:
    every_one = [(f"{name}:{of}", lines) for name, found in measured().items() for of, lines in found.functions]
    assert [each for each in every_one if each[1] > FUNCTION_LINES_MAX] == []


def test_every_module_and_package_says_what_it_is_for() -> None:
    assert [name for name, found in measured().items() if not found.told] == []


def test_no_package_is_empty() -> None:
    tops = [ROOT / "meshnode", ROOT / "cloud_gateway"]
    packages = sorted(path.parent for top in tops for path in top.rglob("__init__.py"))
    empty = [str(p.relative_to(ROOT)) for p in packages if len(list(p.glob("*.py"))) < 2 and p not in tops]
    assert not empty
