"""The house keeps its measure: no file or function swallows the rest, no package is empty."""

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
FILE_LINES_MAX = 500
FUNCTION_LINES_MAX = 60


def _sources() -> list[Path]:
    tops = ("meshnode", "cloud_gateway", "hw", "bench", "examples", "tests", "tools")
    installed = ("node_modules", "site-packages")  # by the page, and by benches for their anchors
    found = (path for top in tops for path in (ROOT / top).rglob("*.py"))
    return sorted(path for path in found if not any(part in installed for part in path.parts))


def test_no_file_is_longer_than_500_lines() -> None:
    long = {str(p.relative_to(ROOT)): n for p in _sources() if (n := len(p.read_text().splitlines())) > FILE_LINES_MAX}
    assert not long


def test_no_function_is_longer_than_60_lines() -> None:
    long: dict[str, int] = {}
    for path in _sources():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.end_lineno is not None:
                lines = node.end_lineno - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long[f"{path.relative_to(ROOT)}:{node.name}"] = lines
    assert not long


def test_every_module_and_package_says_what_it_is_for() -> None:
    silent = [str(p.relative_to(ROOT)) for p in _sources() if not ast.get_docstring(ast.parse(p.read_text()))]
    assert not silent


def test_no_package_is_empty() -> None:
    tops = [ROOT / "meshnode", ROOT / "cloud_gateway"]
    packages = sorted(path.parent for top in tops for path in top.rglob("__init__.py"))
    empty = [str(p.relative_to(ROOT)) for p in packages if len(list(p.glob("*.py"))) < 2 and p not in tops]
    assert not empty
