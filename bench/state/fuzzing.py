"""Every parser of shared state that faces a peer or a file, fuzzed for a while; and what was tried over all runs."""

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path

from bench.rows import Meter, Row, skipped
from bench.state.effort import Effort
from tests.demo.fleet import ROOT
from tests.fuzz import tally

TARGETS = ("envelope", "root", "stick")
EXECUTIONS = 1e7
COUNTS = ROOT / "bench" / "results" / "fuzz.json"
GRACE_S = 120.0


async def fuzzing(effort: Effort) -> AsyncIterator[Row]:
    if not effort.fuzz_s:
        yield skipped("fuzz", "runs", EXECUTIONS)
        return
    yield await asyncio.to_thread(_fuzz, effort)


def _fuzz(effort: Effort) -> Row:
    meter = Meter()
    here = ROOT / "bench" / "out" / "fuzz-state.json"
    here.unlink(missing_ok=True)
    broke = [name for name in TARGETS if _one(name, effort.fuzz_s, here)]
    counted, before = tally.read(here), tally.read(COUNTS)
    total = {name: sum(each[name].inputs for each in (counted, before) if name in each) for name in TARGETS}
    findings = sum(each.findings for each in counted.values()) + len(broke)
    slowest_ms = max((each.slowest_ms for each in counted.values()), default=0.0)
    each = ", ".join(f"{name} {count:,}" for name, count in total.items())
    why = (
        f"in process: executions over all counted runs, the fewest of any parser ({each}); in {effort.fuzz_s:g} s each "
        f"today: {findings} findings, slowest input {slowest_ms:.1f} ms; known bombs are in the corpus of envelope"
    )
    fewest = min(total.values())
    return meter.row(
        "fuzz",
        fewest,
        "runs",
        EXECUTIONS,
        n=sum(total.values()),
        why=why,
        more=True,
        ok=fewest >= EXECUTIONS and not findings,
    )


def _one(name: str, seconds: float, counts: Path) -> bool:
    command = [sys.executable, str(ROOT / "tests" / "fuzz" / f"fuzz_{name}.py"), str(seconds), "1", str(counts)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, timeout=seconds + GRACE_S, check=False)
    return done.returncode != 0
