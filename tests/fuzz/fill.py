"""Every fuzzer until each has tried so much: always the one that has tried least, a slice at a time, each its own seed.

    python tests/fuzz/fill.py EXECUTIONS SLICE_S AT_ONCE HOURS [NAME...]

What was tried is counted in ``bench/results/fuzz.json``, which is committed. Ends with 1 when an input broke a target.
"""

import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.fuzz import tally
from tests.fuzz.driver import HANG_S, ROOT

COUNTS = ROOT / "bench" / "results" / "fuzz.json"
GRACE_S = 120.0


def targets() -> list[str]:
    """Names of all fuzzers."""
    return sorted(path.stem.removeprefix("fuzz_") for path in Path(__file__).parent.glob("fuzz_*.py"))


def count_of(name: str) -> tally.Count:
    return tally.read(COUNTS).get(name) or tally.Count()


class Filling:
    """Who is at work, and what is left to try."""

    def __init__(self, wanted: int, slice_s: float, names: list[str]) -> None:
        self._wanted, self._slice_s = wanted, slice_s
        self._left = names
        self._busy: dict[str, None] = {}
        self._lock = threading.Lock()
        self.broken: list[str] = []

    def next(self) -> str | None:
        """The one that has tried least; it is at work from now on."""
        with self._lock:
            tried = {name: count_of(name).inputs for name in self._left}
            idle = [name for name in self._left if name not in self._busy and name not in self.broken]
            found = min(
                (name for name in idle if tried[name] < self._wanted), key=lambda name: tried[name], default=None
            )
            if found is not None:
                self._busy[found] = None
            return found

    def slice(self, name: str) -> None:
        seed = count_of(name).runs + 1
        command = [sys.executable, str(Path(__file__).with_name(f"fuzz_{name}.py")), f"{self._slice_s:g}"]
        done = subprocess.run(
            [*command, str(seed), str(COUNTS)],
            cwd=ROOT,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=self._slice_s + HANG_S + GRACE_S,
            check=False,
        )
        print(done.stdout.strip(), flush=True)
        if done.returncode:
            self.broken.append(name)
        del self._busy[name]


def work(filling: Filling, end_s: float) -> None:
    """One after the other, until the time is up or nothing is left for this one."""
    while time.monotonic() < end_s and (name := filling.next()) is not None:
        filling.slice(name)


def main(wanted: int, slice_s: float, at_once: int, hours: float, names: list[str]) -> int:
    filling = Filling(wanted, slice_s, names or targets())
    end_s = time.monotonic() + hours * 3600
    with ThreadPoolExecutor(at_once) as lanes:
        for lane in [lanes.submit(work, filling, end_s) for _ in range(at_once)]:
            lane.result()
    return 1 if filling.broken else 0


if __name__ == "__main__":
    sys.exit(main(int(float(sys.argv[1])), float(sys.argv[2]), int(sys.argv[3]), float(sys.argv[4]), sys.argv[5:]))
