"""How long after a cut is healed all documents are equal."""

import statistics
import time

from bench.mesh import NAMES, Mesh
from bench.rows import Meter, Row, spread
from bench.waiting import until

HEAL_S = 2.0
DOCUMENTS = 10  # new ones on each side of each cut; as many older ones are changed
ACROSS = [(a, b) for a in (1, 2) for b in (3, 4)]
SHORT_S = 3.0  # nobody has given up a link yet


def heal_docs(mesh: Mesh, *, short: int, long: int) -> Row:
    """Short cuts that TCP outlives, and long ones after which every link must be made anew: the worse median counts."""
    meter = Meter()
    kinds: list[list[float]] = []
    for kind, rounds in (("short", short), ("long", long)):
        kinds.append([_round(mesh, f"{kind}-{number}", lasting=kind == "long") for number in range(rounds)])
    told = [
        f"{title}: {spread(times)}" for title, times in zip(("links alive", "links lost"), kinds, strict=True) if times
    ]
    why = f"{4 * DOCUMENTS} documents written on both sides of each cut, roots and counts of 4 nodes; " + "; ".join(
        told
    )
    worse = max(statistics.median(times) for times in kinds if times)
    return meter.row("heal-docs", worse, "s", HEAL_S, n=short + long, why=why)


def _round(mesh: Mesh, title: str, *, lasting: bool) -> float:
    network = mesh.fleet.network
    network.cut(ACROSS)
    began = time.monotonic()
    before = max(count for count, _ in mesh.roots())
    shared = sum(each.name.startswith("shared-") for each in mesh.clients[NAMES[0]].documents("AgentCluster"))
    for side in ("alpha", "gamma"):
        for number in range(DOCUMENTS):
            mesh.write(side, f"{side}-{title}-{number}", number)
            mesh.write(side, f"shared-{number}", len(side) + number)
    written = before + 2 * DOCUMENTS + (DOCUMENTS - shared)
    if lasting:
        until("links across the cut stay", lambda: all(_links(mesh, name) == 1 for name in NAMES))
    time.sleep(max(0.0, SHORT_S - (time.monotonic() - began)))
    if len(mesh.roots()) == 1:
        raise AssertionError("the cut did not part the documents: nothing would be measured")
    healed = time.monotonic()
    network.heal()
    equal = until("the documents stay different", lambda: _equal(mesh, written))
    mesh.whole()
    return equal - healed


def _links(mesh: Mesh, name: str) -> int:
    return mesh.clients[name].status().peers_connected


def _equal(mesh: Mesh, documents: int) -> bool:
    roots = mesh.roots()
    return len(roots) == 1 and next(iter(roots))[0] == documents
