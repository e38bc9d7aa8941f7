"""What a document tells its reader to type: the commands of its ``sh`` fences, in order, and the files to be saved."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from tests.patience import finished

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (ROOT / "README.md", ROOT / "examples" / "README.md", *sorted((ROOT / "docs").glob("*.md")))
_OPENING = re.compile(r"(?P<ticks>`{3,})(?P<language>\w*) *(?P<file>\S*)")
_EXITS = re.compile(r"#.*\bexits (\d+)\b")
_TYPED = re.compile(r"\s*(?:\$ )?meshnode\b(?! *:)")
_SPAN = re.compile(r"`(meshnode [^`]+)`", re.DOTALL)


class Fence(NamedTuple):
    """A block between ``` lines. ``line``: of its first line; ``file``: what the reader is to save it as, or ""."""

    line: int
    language: str
    file: str
    text: list[str]


class Step(NamedTuple):
    """One command, or a file to save. ``exits``: the code that the document announces."""

    line: int
    command: str
    exits: int = 0
    file: str = ""


def fences(text: str) -> Iterator[Fence]:
    opened: Fence | None = None
    ticks = ""
    for number, line in enumerate(text.splitlines(), start=1):
        if opened is None:
            if found := _OPENING.fullmatch(line.strip()):
                ticks = found["ticks"]
                opened = Fence(number + 1, found["language"], found["file"], [])
        elif line.strip() == ticks:
            yield opened
            opened = None
        else:
            opened.text.append(line)
    assert opened is None, f"the fence before line {opened.line if opened else 0} is never closed"


def steps(text: str) -> list[Step]:
    found: list[Step] = []
    for fence in fences(text):
        if fence.language == "sh":
            found += _commands(fence)
        elif fence.file:
            found.append(Step(fence.line, "\n".join(fence.text) + "\n", file=fence.file))
    return found


def strays(text: str) -> list[str]:
    """Lines that look like a command of ours and that no test would run: in another fence, or indented."""
    inside = {number for fence in fences(text) for number in range(fence.line - 1, fence.line + len(fence.text) + 1)}
    found = [
        f"line {fence.line + at}: {line}"
        for fence in fences(text)
        if fence.language != "sh"
        for at, line in enumerate(fence.text)
        if _TYPED.match(line)
    ]
    for number, line in enumerate(text.splitlines(), start=1):
        if number not in inside and _TYPED.match(line) and line.startswith(("    ", "\t", "$ ", "meshnode ")):
            found.append(f"line {number}: {line}")
    return found


def spans(text: str) -> list[str]:
    """Commands of ours that stand in a sentence or a table: ``meshnode drain NODE``."""
    plain = text.splitlines()
    for fence in fences(text):
        for number in range(fence.line - 1, fence.line + len(fence.text)):
            plain[number] = ""
    return [" ".join(span.split()) for span in _SPAN.findall("\n".join(plain).replace("```", ""))]


def _commands(fence: Fence) -> Iterator[Step]:
    """Lines, joined while bash says that there is more to come."""
    held: list[str] = []
    for at, line in enumerate(fence.text):
        if not held and (not line.strip() or line.lstrip().startswith("#")):
            continue
        held.append(line)
        if _whole(held):
            command = "\n".join(held)
            announced = _EXITS.search(command)
            yield Step(fence.line + at - len(held) + 1, command, int(announced[1]) if announced else 0)
            held = []
    assert not held, f"line {fence.line}: the command is not whole: {held}"


def _whole(lines: list[str]) -> bool:
    text = "\n".join(lines)
    if text.endswith("\\"):
        return False
    if not any(mark in text for mark in "'\"(`{<"):
        return True
    said = finished(["bash", "-n"], said=text + "\n")
    return "unexpected" not in said.stderr and "here-document" not in said.stderr
