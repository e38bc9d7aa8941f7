"""Calls between two daemons, beside a C program, zenoh, NATS and gRPC, all over mutual TLS 1.3."""

import contextlib
import importlib.util
import sys
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

from bench.rows import Anchor as Beside
from bench.rows import Meter, Row
from bench.talk import beside, certificates
from bench.talk.candidate import Anchor, Candidate, Limit
from bench.talk.effort import Effort
from bench.talk.pair import NAMES_BY, pair
from bench.talk.rounds import Results, known, take
from meshnode.host.engine import Engine
from tests.demo.fleet import Broken

SCRIPTS = {"zenoh": ("zenoh_tls.py", 7441), "NATS": ("nats_tls.py", 7442), "gRPC": ("grpc_mtls.py", 7443)}
SEED = 7
RATE, CPU_S = 60_000, 1.2  # with asyncio's own loop
LONE_P50, LONE_P99 = 2.8, 2.0  # times the C program
UVLOOP_RATE, UVLOOP_P50 = 100_000, 1.8
LOOPS: tuple[Engine, ...] = ("asyncio", "uvloop")
HAS_UVLOOP = importlib.util.find_spec("uvloop") is not None
IN_FLIGHT, BYTES = 64, 128


@contextlib.contextmanager
def others() -> Generator[list[Candidate]]:
    """Every anchor that can be had, up and ready."""
    with tempfile.TemporaryDirectory(prefix="meshnode-talk-") as name:
        at = Path(name)
        certificates.write(at)
        up: list[Candidate] = [Limit(beside.LIMIT, at)] if beside.LIMIT.exists() else []
        anchors: list[Anchor] = []
        try:
            for shown, (script, port) in SCRIPTS.items():
                try:
                    anchors.append(Anchor(shown, script, port, at))
                except (Broken, OSError) as error:
                    print(f"no {shown}: {error}", file=sys.stderr)
            yield [*up, *anchors]
        finally:
            for anchor in anchors:
                anchor.close()


def calls(effort: Effort) -> Iterator[Row]:
    """The rows of calls between daemons."""
    meter = Meter()
    orders = {
        "lone": {"what": "sequence", "bytes": BYTES, "for_s": effort.lone_s},
        "window": {"what": "window", "bytes": BYTES, "at_once": IN_FLIGHT, "for_s": effort.window_s},
    }
    with contextlib.ExitStack() as open_:
        ours = [open_.enter_context(pair(loop)) for loop in LOOPS if loop == "asyncio" or HAS_UVLOOP]
        contestants: list[Candidate] = [*ours, *open_.enter_context(others())]
        results = take(contestants, orders, effort.rounds, SEED)
    for each in ours:
        if each.name in results.broken:
            raise Broken(results.broken[each.name])
    yield from _rows(meter, results, effort)
    yield from _rows_of_uvloop(meter, results, effort)


def _rows_of_uvloop(meter: Meter, results: Results, effort: Effort) -> Iterator[Row]:
    """The same calls by the same daemons, started with ``--loop uvloop``."""
    us, n = NAMES_BY["uvloop"], effort.rounds
    why = f"as rpc-64, on uvloop; rounds {results.rounds(us, 'window', 'per_s')}" if HAS_UVLOOP else "no uvloop here"
    yield meter.row(
        "rpc-64-uvloop", results.median(us, "window", "per_s"), "calls/s", UVLOOP_RATE, n=n, more=True, why=why,
        anchor=results.anchor("NATS", "NATS TLS", "window", "per_s"),
    )  # fmt: skip
    for id_, of, times in (("rpc-1-uvloop", "p50_us", UVLOOP_P50), ("rpc-1-uvloop-p99", "p99_us", LONE_P99)):
        limit = results.median("C", "lone", of)
        yield meter.row(
            id_, results.median(us, "lone", of), "us", None if limit is None else round(times * limit, 1), n=n,
            why=f"as rpc-1, on uvloop, {of[:3]}, goal {times:g} x C; rounds {results.rounds(us, 'lone', of)}",
            anchor=results.anchor("C", "C over TLS, blocking", "lone", of),
        )  # fmt: skip


def _rows(meter: Meter, results: Results, effort: Effort) -> Iterator[Row]:
    us, n = NAMES_BY["asyncio"], effort.rounds
    rates = f"calls a second of the others: {known(results, tuple(SCRIPTS), 'window', 'per_s')}"
    what = f"{BYTES} B, {IN_FLIGHT} in flight, mesh.ping from switch to switch over one link, asyncio's loop"
    yield meter.row(
        "rpc-64", results.median(us, "window", "per_s"), "calls/s", RATE, n=n, more=True,
        why=f"{what}; rounds {results.rounds(us, 'window', 'per_s')}; {rates}",
        anchor=results.anchor("NATS", "NATS TLS", "window", "per_s"),
    )  # fmt: skip
    yield meter.row(
        "rpc-64-cpu", results.cpu_100k_s(us, "window"), "CPU s", CPU_S, n=n, why="per 100,000 calls, both daemons",
        anchor=Beside(name="NATS TLS, with its broker", value=results.cpu_100k_s("NATS", "window")),
    )  # fmt: skip
    others_us = f"p50 in us of the others: {known(results, tuple(SCRIPTS), 'lone', 'p50_us')}"
    for id_, of, times in (("rpc-1", "p50_us", LONE_P50), ("rpc-1-p99", "p99_us", LONE_P99)):
        limit = results.median("C", "lone", of)
        yield meter.row(
            id_, results.median(us, "lone", of), "us", None if limit is None else round(times * limit, 1), n=n,
            why=f"one call after another, {of[:3]}, goal {times:g} x C; rounds {results.rounds(us, 'lone', of)}; "
            f"{others_us}",
            anchor=results.anchor("C", "C over TLS, blocking", "lone", of),
        )  # fmt: skip
