"""Ten thousand documents on one node: what they cost at rest and when read, how soon it starts, how it compares."""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

import msgspec

from bench.gossip.process import memory
from bench.nodes import Nodes
from bench.rows import Anchor, Meter, Row
from bench.state.anchors import etcd
from bench.state.effort import Effort
from bench.state.rooms import NAMESPACE, Clock, Replica, Trusted, Wire, record
from bench.state.thousands import fill

HYDRATED_MIB, LAZY_MIB, BOOT_S, EQUAL_BYTES = 100.0, 20.0, 2.0, 64.0
SETTLE_S = 3.0
ALONE = [("alpha", "eu")]
PYCRDT = "pycrdt 0.14"
PYCRDT_S = 300.0


class Floor(msgspec.Struct, frozen=True):
    """What pycrdt needs in memory for the same records, by its own script."""

    mib: float | None = None
    why: str = ""


async def many(effort: Effort) -> AsyncIterator[Row]:
    for row in await asyncio.to_thread(_daemon, effort):
        yield row
    yield equal(effort)


def _daemon(effort: Effort) -> list[Row]:
    meter, floor = Meter(), _pycrdt(effort)
    with Nodes(ALONE) as mesh:
        mesh.up("alpha")
        mesh.kill("alpha")
        empty_s, empty_mib = _started(mesh)
        mesh.kill("alpha")
        fill(mesh, effort.documents)
        boot_s, lazy_mib = _started(mesh)
        held = len(mesh.clients["alpha"].documents(namespace=NAMESPACE))
        time.sleep(SETTLE_S)
        read_mib = _rss(mesh)
    assert held == effort.documents, f"{held} of {effort.documents} documents"
    share = effort.documents / 10_000  # the quick run has fewer: its goals are as much lower
    real = "through the local API of a real daemon over a journal that holds them"
    beside = Anchor(name=PYCRDT, value=floor.mib, why=floor.why)
    over = f"RSS over an empty daemon's {empty_mib:.1f}"
    booted = f"from fork until it says that it is ready; an empty one {empty_s:.2f}"
    rows = (
        ("docs-10k", read_mib - empty_mib, "MiB", HYDRATED_MIB * share, f"{over}, after all have been listed"),
        ("docs-10k-lazy", lazy_mib - empty_mib, "MiB", LAZY_MIB * share, f"{over}, nobody has asked yet"),
        ("docs-10k-boot", boot_s, "s", BOOT_S, booted),
    )
    return [
        meter.row(
            id_, value, unit, goal, n=effort.documents, why=f"{real}: {effort.documents:,} documents; {why}",
            anchor=beside if unit == "MiB" else None,
        )
        for id_, value, unit, goal, why in rows
    ]  # fmt: skip


def _started(mesh: Nodes) -> tuple[float, float]:
    began = time.monotonic()
    mesh.up("alpha")
    took_s = time.monotonic() - began
    time.sleep(SETTLE_S)
    return took_s, _rss(mesh)


def _rss(mesh: Nodes) -> float:
    process = mesh["alpha"].process
    assert process is not None
    return memory(process.pid).rss_mib


def _pycrdt(effort: Effort) -> Floor:
    try:
        told = etcd.script("pycrdt_docs.py", str(effort.documents), "100", "0", timeout_s=PYCRDT_S)
    except etcd.Missing as error:
        return Floor(why=str(error))
    return Floor(told["mib"], "the bare documents in memory, without journal, signatures or history of who wrote what")


def equal(effort: Effort) -> Row:
    """Two replicas that hold the same: what they say to find that out."""
    meter, clock, trusted = Meter(), Clock(), Trusted(2)
    author = Replica(trusted, 0, clock)
    for number in range(effort.documents):
        author.write(f"doc-{number}", record(number))
    twin = Replica(trusted, 1, clock, restored=author.kept)
    wire = Wire([author, twin])
    told = _compared(wire, [(0, 1)])
    same = author.documents.root() == twin.documents.root()
    why = (
        f"in process: {effort.documents:,} documents each; {wire.letters} letter(s) when a link comes up, "
        f"{'roots are equal' if same else 'ROOTS DIFFER'}"
    )
    ok = told <= EQUAL_BYTES and wire.letters <= 2 and same
    return meter.row("docs-10k-equal", told, "B", EQUAL_BYTES, n=effort.documents, why=why, ok=ok)


def _compared(wire: Wire, pairs: Sequence[tuple[int, int]]) -> int:
    wire.link(iter(pairs))
    wire.settle()
    return sum(wire.bytes.values())
