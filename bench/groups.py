"""A bench in groups of figures, one after the other, shown as they come; what breaks one leaves the others alone."""

import argparse
import asyncio
import importlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from bench.ideas import with_next_step
from bench.recovery import finish
from bench.rows import Row, merged, read, show
from meshnode.model.errors import LocalError
from tests.demo.fleet import ROOT, Broken

EffortT = TypeVar("EffortT")
# Its generator, or module and name of it: loaded when its turn comes.
Group = Callable[[EffortT], AsyncIterator[Row] | Iterator[Row]] | tuple[str, str]


@dataclass(frozen=True, kw_only=True, slots=True)
class Bench(Generic[EffortT]):
    """``make bench-NAME``, into bench/out/NAME.json. ``ids``: every figure there must be; ``prepare``: what is measured
    beside the product; ``next_step``: what a row that misses its goal says.

    Exit 1 when a figure is missing. A figure over its goal is told, not hidden, and does not fail the run.
    """

    name: str
    ids: tuple[str, ...]
    groups: Mapping[str, Group[EffortT]]
    full: EffortT
    quick: EffortT
    quick_is: str
    prepare: Callable[[], None] = lambda: None
    next_step: Callable[[Row], Row] = with_next_step
    breaks: tuple[type[Exception], ...] = ()

    def main(self) -> int:
        """Read the command line, measure, write."""
        out = ROOT / "bench" / "out" / f"{self.name}.json"
        out.parent.mkdir(parents=True, exist_ok=True)  # some groups write here, on the disk the product would use
        parser = argparse.ArgumentParser(prog=f"make bench-{self.name}")
        parser.add_argument("--quick", action="store_true", help=self.quick_is)
        parser.add_argument("--out", type=Path, default=out, help=f"default: bench/out/{out.name}")
        parser.add_argument("--only", choices=self.groups, action="append", default=[], help="this group of figures")
        parser.add_argument("--keep", action="store_true", help="rows the file has of what is not measured now stay")
        given = parser.parse_args()
        signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no daemon or namespace is left behind
        os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
        try:
            self.prepare()
            rows = asyncio.run(self._measure(self.quick if given.quick else self.full, given.only))
            return finish(merged(read(given.out), rows, self.ids) if given.keep else rows, self.ids, given.out)
        except KeyboardInterrupt:
            return 130

    async def _measure(self, effort: EffortT, wanted: list[str]) -> list[Row]:
        rows: list[Row] = []
        expected = (Broken, LocalError, AssertionError, OSError, ImportError, AttributeError, *self.breaks)
        for name, group in self.groups.items():
            if wanted and name not in wanted:
                continue
            try:
                async for row in _rows(group, effort):
                    rows.append(self.next_step(row))
                    print(show(rows[-1]), flush=True)
            except expected as error:
                print(f"broken: {name}: {type(error).__name__}: {error}", file=sys.stderr)
            except ExceptionGroup as error:
                print(f"broken: {name}: {_first(error)}", file=sys.stderr)
        return rows


async def _rows(group: Group[EffortT], effort: EffortT) -> AsyncIterator[Row]:
    if isinstance(group, tuple):
        module, function = group
        group = getattr(importlib.import_module(module), function)
    found = group(effort)
    if isinstance(found, AsyncIterator):
        async for row in found:
            yield row
    else:
        for row in found:
            yield row


def _first(error: Exception) -> str:
    """What went wrong in a task of a group, without the groups around it."""
    while isinstance(error, ExceptionGroup):
        error = error.exceptions[0]
    return f"{type(error).__name__}: {error}"
