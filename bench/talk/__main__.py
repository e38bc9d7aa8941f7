"""``make bench-talk``: what calls, streams and objects cost, beside C, zenoh, NATS and gRPC, into bench/out/talk.json.

Exit 1 when a figure is missing. A figure over its goal is told, not hidden, and does not fail the run.
"""

import argparse
import os
import signal
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

from bench.recovery import finish
from bench.rows import Meter, Row, show
from bench.talk import beside
from bench.talk.agents import agents
from bench.talk.calls import calls
from bench.talk.effort import FULL, QUICK, Effort
from meshnode.model.errors import LocalError
from tests.demo.fleet import ROOT, Broken

OUT = ROOT / "bench" / "out" / "talk.json"
IDS = (
    "rpc-64", "rpc-64-cpu", "rpc-1", "rpc-1-p99", "a2a-1", "a2a-1-p99", "a2a-1-zmq", "a2a-64", "local-64", "stream",
    "object", "hang", "events", "events-fanout", "links-1000", "resume", "relay",
)  # fmt: skip
# What nothing can be measured of: it is not there yet.
UNBUILT = {
    "events": ("MB/s", "topics are not built: there is nothing to publish to"),
    "events-fanout": ("copies", "topics are not built"),
    "links-1000": ("s", "no harness opens a thousand links yet"),
    "resume": (
        "frames",
        "resumption is tested in the simulator and with sockets; no harness breaks links under load",
    ),
    "relay": ("x", "relays are not built"),
}


def unbuilt(_: Effort) -> Iterator[Row]:
    """Rows that say so."""
    for id_, (unit, why) in UNBUILT.items():
        yield Meter().row(id_, None, unit, None, n=0, why=why, ok=False)


GROUPS: dict[str, Callable[[Effort], Iterator[Row]]] = {"calls": calls, "agents": agents, "unbuilt": unbuilt}


def measure(effort: Effort, wanted: list[str]) -> list[Row]:
    """Rows as they come; what breaks one group leaves the others alone."""
    rows: list[Row] = []
    for name, group in GROUPS.items():
        if wanted and name not in wanted:
            continue
        try:
            for row in group(effort):
                rows.append(row)
                print(show(row), flush=True)
        except (Broken, LocalError, AssertionError, OSError) as error:
            print(f"broken: {name}: {type(error).__name__}: {error}", file=sys.stderr)
    return rows


def main() -> int:
    parser = argparse.ArgumentParser(prog="make bench-talk")
    parser.add_argument("--quick", action="store_true", help="under 50 s of measuring")
    parser.add_argument("--out", type=Path, default=OUT, help="default: bench/out/talk.json")
    parser.add_argument("--only", choices=GROUPS, action="append", default=[], help="this group of figures")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # so that no daemon is left behind
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # an installed package has its bytecode
    beside.prepare()
    return finish(measure(QUICK if given.quick else FULL, given.only), IDS, given.out)


if __name__ == "__main__":
    try:
        sys.exit(main())
    except KeyboardInterrupt:
        sys.exit(130)
