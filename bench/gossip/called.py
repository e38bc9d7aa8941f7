"""The daemon of this bench, with what each of its wakings calls: how often a Python function, and how many of them.

Fifty daemons find no cache warm, so a waking costs what it touches. How long it takes depends on what else the machine
does; what it calls does not. Times mean nothing with it. It writes ``Kind`` by what a waking did, as ``traced.py``.
"""

import os
import selectors
import sys
from collections import Counter
from pathlib import Path
from types import CodeType, FrameType

import msgspec

from bench.gossip.daemon import serve
from bench.gossip.traced import Traced, notes

_BENCH = str(Path(__file__).parent)
_ROOT = str(Path(__file__).parents[2]) + os.sep


class Kind(msgspec.Struct):
    """Wakings that did the same. ``functions``: all that were called in each, summed; ``places``: calls by file."""

    wakings: int = 0
    calls: int = 0
    functions: int = 0
    places: dict[str, int] = {}

    def add(self, other: "Kind") -> None:
        self.wakings += other.wakings
        self.calls += other.calls
        self.functions += other.functions
        self.places = dict(Counter(self.places) + Counter(other.places))


class Ledger:
    """What this process called since it woke, and what its wakings called before, from its first row on."""

    def __init__(self) -> None:
        self.kinds: dict[str, Kind] = {}
        self._calls = Counter[CodeType]()

    def note(self, frame: FrameType, event: str, _: object) -> None:
        if event == "call" and not frame.f_code.co_filename.startswith(_BENCH):
            self._calls[frame.f_code] += 1

    def sleeps(self, did: str) -> None:
        sys.setprofile(None)
        calls, self._calls = self._calls, Counter()
        if notes.trace.steps:
            places = Counter[str]()
            for code, times in calls.items():
                places[_place(code.co_filename)] += times
            self.kinds.setdefault(did, Kind()).add(Kind(1, calls.total(), len(calls), dict(places)))

    def wakes(self) -> None:
        if notes.trace.steps:
            sys.setprofile(self.note)


def _place(path: str) -> str:
    """The file of ours, or whose library it is."""
    return path.removeprefix(_ROOT) if path.startswith(_ROOT) else "libraries"


class Watched(selectors.EpollSelector):
    """Tells when the loop sleeps and wakes."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        ledger.sleeps(notes.did())
        events = super().select(timeout)
        ledger.wakes()
        return events


ledger = Ledger()


def main() -> int:
    selectors.DefaultSelector = Watched
    status = serve(Traced)
    notes.keep(ledger.kinds)
    return status


if __name__ == "__main__":
    os._exit(main())
