"""Which lines of the parsers no fuzzer reaches: corpora and mutations, every input traced.

    python tests/fuzz/reach.py SECONDS links sessions state peers frame

Prints each file of ``FILES`` with how many of its lines in functions ran, and the numbers of those that did not.
"""

import importlib
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import CodeType

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz.driver import ROOT, SESSION_INPUTS, Lines, Mutator, OneInput, Opens, corpus_of, outcome_of

FILES = ("meshnode/links", "meshnode/wire", "meshnode/host/bus_talk.py", "meshnode/messaging/letters.py")
SEED = 1


def executable(path: Path) -> frozenset[int]:
    """The lines inside of functions; those of a module or a class body run when it is imported."""
    return frozenset(_of(compile(path.read_text(), str(path), "exec"), inside=False))


def _of(code: CodeType, *, inside: bool) -> Iterator[int]:
    if inside:
        yield from (line for _, _, line in code.co_lines() if line is not None and line != code.co_firstlineno)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            is_class = "__qualname__" in constant.co_names and "__module__" in constant.co_names
            yield from _of(constant, inside=not is_class)


def traced(target: OneInput, corpus: Path, seconds: float, lines: Lines, opens: Opens | None = None) -> int:
    """How many inputs were tried: the corpus alone, then what is bred from it as a campaign gives it to the target."""
    mutator, end, tries = Mutator(seeds := corpus_of(corpus), SEED), time.perf_counter() + seconds, 0
    session = opens() if opens is not None else None
    while tries < len(seeds) or time.perf_counter() < end:
        data = seeds[tries] if tries < len(seeds) else mutator.breed()
        with lines:
            outcome_of(session.tell if session is not None and tries >= len(seeds) else target, data)
        if lines.fresh:
            mutator.keep(data)
        tries += 1
        if session is not None and opens is not None and tries % SESSION_INPUTS == 0:
            session.end()
            session = opens()
    return tries


def ranges(numbers: list[int]) -> str:
    """5-7 9: readable, however many."""
    told: list[list[int]] = []
    for number in numbers:
        if told and number == told[-1][1] + 1:
            told[-1][1] = number
        else:
            told.append([number, number])
    return " ".join(f"{first}" if first == last else f"{first}-{last}" for first, last in told)


def main(seconds: float, names: list[str]) -> None:
    lines = Lines()
    for name in names:
        module = importlib.import_module(f"tests.fuzz.fuzz_{name}")
        print(
            f"{name}: {traced(module.one_input, module.CORPUS, seconds, lines, getattr(module, 'OPENS', None))} inputs"
        )
    paths = [path for each in FILES for path in _files(ROOT / each)]
    for path in paths:
        wanted = executable(path)
        missed = sorted(wanted - lines.of(path))
        if wanted:
            shown = f"{len(wanted) - len(missed)} of {len(wanted)}"
            print(f"{path.relative_to(ROOT)}: {shown}{'; never ' + ranges(missed) if missed else ''}")


def _files(path: Path) -> list[Path]:
    return [path] if path.is_file() else sorted(path.glob("*.py"))


if __name__ == "__main__":
    main(float(sys.argv[1]), sys.argv[2:])
