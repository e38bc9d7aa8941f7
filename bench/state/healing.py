"""After a cut: thousands of changes on each side, until both hold the same, with every acknowledged write."""

import time
from collections.abc import AsyncIterator

from bench.rows import Meter, Row
from bench.state.effort import Effort
from bench.state.rooms import KIND, NAMESPACE, Clock, Replica, Trusted, Wire
from meshnode.crdt.batch import BATCH_MAX
from meshnode.crdt.fields import JsonValue
from meshnode.model.errors import LocalError

MANY_S, HOT_S = 1.0, 5.0
SIDES = (0, 1)
TURN = 64  # writes in one turn of a node, as of so many writers
STEP_S, WAIT_S = 0.2, 60.0
WRITE_S = 0.000_05


async def healing(effort: Effort) -> AsyncIterator[Row]:
    yield _healed("heal", effort.heal, effort.heal, MANY_S * effort.heal / 10_000)
    yield _healed("heal-hot", effort.heal, 1, HOT_S * effort.heal / 10_000)


def _healed(id_: str, changes: int, documents: int, goal: float) -> Row:
    """``changes`` on each side over so many documents."""
    meter, clock, trusted = Meter(), Clock(), Trusted(2)
    replicas = [Replica(trusted, at, clock) for at in SIDES]
    wire = Wire(replicas)
    for first in range(0, documents, TURN):
        some = range(first, min(documents, first + TURN))
        replicas[0].write_all([(f"doc-{number}", {"spec": {"a": -1, "b": -1, "both": -1}}) for number in some])
    wire.link(iter([(0, 1)]))
    wire.settle()
    full = ""
    written = [0, 0]
    for at in SIDES:
        try:
            for first in range(0, changes, TURN):
                some = range(first, min(changes, first + TURN))
                replicas[at].write_all([_written(replicas[at], at, number, documents) for number in some])
                written[at] += len(some)
                # A document that grows goes on to its next generation in the cut too, in the time its writes take.
                replicas[at].wake(clock.rest(len(some) * WRITE_S))
        except LocalError as error:
            full = f"; side {at} was refused after {written[at]:,}: {error.message[:80]}"
    began = time.perf_counter()
    before = sum(wire.bytes.values())
    wire.link(iter([(0, 1)]))
    wire.settle()
    passed_s = _rested(wire, replicas, clock)
    took_s = time.perf_counter() - began + passed_s
    same = replicas[0].documents.root() == replicas[1].documents.root()
    lost = _unaccounted(replicas, documents, written)
    each = f"{sum(written):,} changes over {documents:,} document(s), {sum(wire.bytes.values()) - before:,} B"
    why = (
        f"in process: both replicas on one core, written in turns of {TURN} (a signature for every {BATCH_MAX} "
        f"documents of one); {each}; digests equal: {same}; acknowledged writes "
        f"neither in force nor overwritten nor a sibling: {lost}{full}"
    )
    return meter.row(
        id_, took_s, "s", goal, n=sum(written), why=why, ok=took_s <= goal and same and not lost and not full
    )


def _rested(wire: Wire, replicas: list[Replica], clock: Clock) -> float:
    """Let the time pass that generations wait for, if there were any; how much of it, which counts as waited."""
    passed_s = 0.0
    while passed_s < WAIT_S and replicas[0].documents.root() != replicas[1].documents.root():
        now = clock.rest(STEP_S)
        passed_s += STEP_S
        for replica in replicas:
            wire.say(replica, replica.wake(now))
        wire.settle()
    return passed_s


def _written(replica: Replica, side: int, number: int, documents: int) -> tuple[str, dict[str, JsonValue]]:
    name = f"doc-{number % documents}"
    found = replica.documents.get(KIND, NAMESPACE, name)
    assert found is not None
    own = "a" if side == 0 else "b"
    return name, {"spec": {**found.spec, own: number, "both": 2 * number + side}}


def _unaccounted(replicas: list[Replica], documents: int, written: list[int]) -> int:
    """The last write of each side to a field is in force or a sibling, on both sides."""
    lost = 0
    for number in range(documents):
        for replica in replicas:
            found = replica.documents.get(KIND, NAMESPACE, f"doc-{number}")
            if found is None:
                lost += 1
                continue
            for side, own in enumerate("ab"):
                if written[side] <= number:
                    continue
                last = number + (written[side] - 1 - number) // documents * documents
                both = found.siblings["spec.both"].values if "spec.both" in found.siblings else (found.spec["both"],)
                lost += (found.spec[own] != last) + (2 * last + side not in both)
    return lost
