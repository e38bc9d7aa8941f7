"""A typed read, and the gate: what one room does for one question and for one foreign change. In process, one core."""

import asyncio
import statistics
import tempfile
import time
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

from bench.rows import Meter, Row, quantile
from bench.state.effort import Effort
from bench.state.rooms import KIND, NAMESPACE, Clock, Kept, Replica, Trusted, record
from meshnode.crdt import envelope
from meshnode.crdt.envelope import Envelope
from meshnode.crdt.letters import eager_letters, encode
from meshnode.kernel.effects import Channel, Effect, Persist
from meshnode.links.messages import ControlReceived

READ_US, BATCHED_S, SINGLE_S = 20.0, 20_000.0, 4_000.0
DOCS = 100
BATCH = 100
IN_PROCESS = "in process"


async def reading(effort: Effort) -> AsyncIterator[Row]:
    yield read(effort)


def read(effort: Effort) -> Row:
    meter = Meter()
    replica = Replica(Trusted(1), 0, Clock())
    for number in range(DOCS):
        replica.write(f"doc-{number}", record(number))
    took_us: list[float] = []
    for number in range(effort.reads):
        name = f"doc-{number % DOCS}"
        began = time.perf_counter_ns()
        found = replica.documents.get(KIND, NAMESPACE, name)
        took_us.append((time.perf_counter_ns() - began) / 1000)
        assert found is not None
        assert found.spec["agent"] == "vision"
    why = f"{IN_PROCESS}: a record of eight fields by its name, p50; p99 {quantile(took_us, 0.99):.0f} us"
    return meter.row("read", statistics.median(took_us), "us", READ_US, n=len(took_us), why=why)


async def gate(effort: Effort) -> AsyncIterator[Row]:
    """Foreign envelopes through the whole gate into documents and journal."""
    for id_, per_envelope, goal, count in (
        ("gate", BATCH, BATCHED_S, effort.changes), ("gate-single", 1, SINGLE_S, effort.changes // 4),
    ):  # fmt: skip
        meter = Meter()
        envelopes = made(count // per_envelope, per_envelope)
        rate, refused = await through(envelopes, per_envelope)
        why = (
            f"{IN_PROCESS}: {count} changes of eight fields, {per_envelope} to a signature, from a peer's letter to "
            f"the end of its commit (fdatasync), on one core; {refused} refused"
        )
        yield meter.row(id_, rate, "/s", goal, n=count, why=why, more=True, ok=rate >= goal and not refused)


_made: dict[int, "_Author"] = {}


class _Author:
    """Whoever writes, and the mesh in which others believe it."""

    def __init__(self) -> None:
        self.trusted, self.clock = Trusted(2), Clock()
        self.replica = Replica(self.trusted, 0, self.clock)


def made(envelopes: int, per_envelope: int) -> list[bytes]:
    """Signed by an author; each of its own document."""
    author = _made[per_envelope] = _Author()
    return [_sealed(author, f"doc-{number}", per_envelope) for number in range(envelopes)]


def _sealed(author: _Author, name: str, changes: int) -> bytes:
    """As many writes of one document under one signature: sealed again, for the room signs each of its own."""
    before = len(author.replica.kept)
    for number in range(changes):
        author.replica.write(name, record(number))
    each = [envelope.unseal(kept.body[8:]).envelope for kept in author.replica.kept[before:]]
    first, last = each[0], each[-1]
    chunks = [chunk for one in each for chunk in one.changes]
    if changes == 1:
        return author.replica.kept[-1].body[8:]
    joined = Envelope(
        first.version, first.doc, first.kind, first.namespace, first.name, first.author, first.boot, first.seq,
        last.hlc, chunks,
    )  # fmt: skip
    return envelope.seal(joined, author.trusted.signers[0])


async def through(envelopes: Sequence[bytes], per_envelope: int) -> tuple[float, int]:
    """Changes a second, and how many envelopes were refused."""
    author = _made[per_envelope]
    with tempfile.TemporaryDirectory(prefix="meshnode-bench-") as directory:
        receiver = Replica(author.trusted, 1, author.clock)
        receiver.up(author.replica)
        kept = Kept(receiver, Path(directory))
        letters = [encode(letter) for letter in eager_letters(envelopes)]
        began = time.perf_counter()
        async with asyncio.TaskGroup() as tasks:
            for letter in letters:
                event = ControlReceived(author.replica.node, Channel.STATE, letter)
                _act(kept, tasks, receiver.documents.handle(event, author.clock.now()))
                while receiver.documents.is_reading:
                    await asyncio.sleep(0)
                    _act(kept, tasks, receiver.documents.wake(author.clock.now()))
                await asyncio.sleep(0)  # a turn of the loop a slice of a letter, as in the daemon
        rate = len(envelopes) * per_envelope / (time.perf_counter() - began)
        kept.close()
    return rate, sum(receiver.rejected.values())


def _act(kept: Kept, tasks: asyncio.TaskGroup, effects: Sequence[Effect]) -> None:
    for effect in effects:
        if isinstance(effect, Persist):
            tasks.create_task(_kept(kept, effect), name="commit")
        else:
            kept.replica.perform([effect])


async def _kept(kept: Kept, asked: Persist) -> None:
    await kept.keep(asked.records)
    kept.replica.perform(asked.then)
