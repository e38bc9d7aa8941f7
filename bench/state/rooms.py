"""Replicas in this process: the room of documents as the daemon has it, real keys, a real journal, and no sockets."""

import asyncio
import time
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from meshnode.crdt.document import Change, Changes
from meshnode.crdt.fields import JsonValue
from meshnode.crdt.messages import EnvelopesKept
from meshnode.crdt.replica import Documents, DocumentsConfig
from meshnode.crdt.writing import Intent, Wanted
from meshnode.host.journal import JournalWriter
from meshnode.kernel import rng
from meshnode.kernel.effects import Effect, Persist, Reject, Send
from meshnode.kernel.instant import SECOND, ClockTrust, Instant
from meshnode.kernel.records import Record
from meshnode.links.messages import ControlReceived, PeerUp
from meshnode.model.errors import LocalError
from meshnode.security.bundle import Bundle
from meshnode.security.identity import Ed25519Verifier, RecordSigner, new_record_key
from meshnode.security.members import Members, make_member
from meshnode.security.roles import Roles

KIND, NAMESPACE = "AgentCluster", "bench"
MESH, MEMBER = "bench", ("member",)
START_MS = 1_800_000_000_000
_STEP_US = 50


def record(number: int) -> dict[str, JsonValue]:
    """Eight fields, of which each call changes some."""
    return {
        "apiVersion": "v1",
        "spec": {
            "replicas": number, "agent": "vision", "region": "eu", "reason": f"order {number}",
            "enabled": number % 2 == 0,
            "load": number / 8, "labels": {"line": f"l{number % 7}"},
        },
    }  # fmt: skip


_Put = tuple[Wanted, asyncio.Future[None]]


class Trusted:
    """Signers that one admin has vouched for; every replica knows all of them."""

    def __init__(self, count: int) -> None:
        self._admin = RecordSigner(new_record_key())
        self.bundle = Bundle(MESH, 1, (), (self._admin.public_key,), b"")
        self.signers = [RecordSigner(new_record_key()) for _ in range(count)]
        self.records = [
            make_member(
                self._admin, mesh=MESH, name=f"node-{at}", record_key=signer.public_key, roles=MEMBER,
                region=f"region-{at % 2}", labels={}, issued_ms=5,
            )
            for at, signer in enumerate(self.signers)
        ]  # fmt: skip

    def members(self) -> Members:
        known = Members(self.bundle, Ed25519Verifier())
        for each in self.records:
            assert not isinstance(known.admit(each), str)
        return known


class Clock:
    """A synchronised clock that goes on by a step a question: no two writes of one moment."""

    def __init__(self) -> None:
        self._us = 0

    def now(self) -> Instant:
        self._us += _STEP_US
        return Instant(self._us, START_MS + self._us // 1000, ClockTrust.SYNCED)

    def rest(self, seconds: float) -> Instant:
        """So much time passes without a question."""
        self._us += round(seconds * SECOND)
        return self.now()


class WallClock(Clock):
    """As this machine's: what the room does when some time has passed is done when it has."""

    def now(self) -> Instant:
        self._us = max(self._us + 1, time.monotonic_ns() // 1000)
        return Instant(self._us, START_MS + self._us // 1000, ClockTrust.SYNCED)


class Replica:
    """One room of documents. ``kept``: its journal in memory, for whoever starts it again."""

    def __init__(
        self, trusted: Trusted, at: int, clock: Clock, *, boot: int = 1, restored: Sequence[Record] = ()
    ) -> None:
        signer, trust = trusted.signers[at], trusted.members()
        self.at, self.node, self.member, self.boot, self.clock = at, signer.node, trusted.records[at], boot, clock
        self.documents = Documents(
            DocumentsConfig(), signer=signer, verifier=Ed25519Verifier(), authority=Roles(trust), trust=trust,
            boot=boot, restored=restored, rng=rng.fork(b"bench", f"documents/{at}/{boot}"),
        )  # fmt: skip
        self.kept: list[Record] = []
        self.rejected: dict[str, int] = {}

    def up(self, other: "Replica") -> list[Send]:
        """The link to another replica stands."""
        event = PeerUp(other.node, f"node-{other.at}", f"region-{other.at % 2}", other.boot, True, 0, "", other.member)
        return self.perform(self.documents.handle(event, self.clock.now()))

    def put(self, name: str, fields: Mapping[str, JsonValue]) -> Change:
        return self.documents.put(KIND, NAMESPACE, name, fields, self.clock.now())

    def promise(self, name: str, fields: Mapping[str, JsonValue]) -> Intent:
        """A put that memory acknowledges."""
        intent = self.documents.intend(Wanted(KIND, NAMESPACE, name, fields))
        assert isinstance(intent, Intent)
        assert intent.is_sure
        return intent

    def fulfil(self, promised: Sequence[Intent]) -> list[Send]:
        """Make them, and keep them in memory."""
        made = self.documents.fulfil(promised, self.clock.now())
        return self.perform([*made.at_once, Persist(made.records, made.effects)])

    def put_all(self, writes: Sequence[Wanted]) -> Changes:
        return self.documents.put_all(writes, self.clock.now())

    def write(self, name: str, fields: Mapping[str, JsonValue]) -> list[Send]:
        """Put and keep, in memory."""
        change = self.put(name, fields)
        return self.perform([Persist(change.records, change.effects)])

    def write_all(self, writes: Sequence[tuple[str, Mapping[str, JsonValue]]]) -> list[Send]:
        """All of one turn: put together and kept, in memory. Raises the first that was refused."""
        wanted = [Wanted(KIND, NAMESPACE, name, fields) for name, fields in writes]
        made = self.documents.put_all(wanted, self.clock.now())
        for outcome in made.outcomes:
            if isinstance(outcome, LocalError):
                raise outcome
        return self.perform([Persist(made.records, made.effects)])

    def hear(self, sender: "Replica", send: Send) -> list[Send]:
        event = ControlReceived(sender.node, send.channel, send.body)
        return self.perform(self.documents.handle(event, self.clock.now()))

    def wake(self, now: Instant) -> list[Send]:
        return self.perform(self.documents.wake(now))

    def perform(self, effects: Sequence[Effect]) -> list[Send]:
        """As the core does, with a disk that is done at once; what is for others comes back."""
        sends: list[Send] = []
        todo = deque(effects)
        while todo:
            match todo.popleft():
                case Send() as send:
                    sends.append(send)
                case Persist(records, then):
                    self.kept += records
                    todo.extendleft(reversed(then))
                case EnvelopesKept() as fact:
                    todo.extendleft(reversed(self.documents.handle(fact, self.clock.now())))
                case Reject(_, reason):
                    self.rejected[reason] = self.rejected.get(reason, 0) + 1
                case _:
                    pass
        return sends


class Kept:
    """A replica with the daemon's journal: a write is done when its commit is (fdatasync, group commit). What is put in
    one turn of the loop is written together, as the daemon does (``node/puts.py``), and what is due then is done."""

    def __init__(self, replica: Replica, directory: Path) -> None:
        self.replica = replica
        self._writer = JournalWriter.open(directory / "journal", node=replica.node).writer
        self._turn: list[_Put] = []
        self._broken: Exception | None = None

    @property
    def file_bytes(self) -> int:
        return self._writer.file_bytes

    async def put(self, name: str, fields: Mapping[str, JsonValue]) -> None:
        """Raises why it was refused, or what the journal says when it refuses."""
        if self._broken is not None:
            raise self._broken
        loop = asyncio.get_running_loop()
        if not self._turn:
            loop.call_soon(self._take_turn)
        done: asyncio.Future[None] = loop.create_future()
        self._turn.append((Wanted(KIND, NAMESPACE, name, fields), done))
        await done

    def _take_turn(self) -> None:
        puts, self._turn = self._turn, []
        now = self.replica.clock.now()
        due_us = self.replica.documents.deadline()
        if due_us is not None and due_us <= now.mono_us:
            self._perform(self.replica.documents.wake(now))
        made = self.replica.put_all([wanted for wanted, _ in puts])

        def told(error: Exception | None) -> None:
            if error is None:
                self._perform(made.effects)
            for (_, done), outcome in zip(puts, made.outcomes, strict=True):
                _end(done, error or (outcome if isinstance(outcome, LocalError) else None))

        self._writer.append(made.records, told)

    def _perform(self, effects: Sequence[Effect]) -> None:
        """As ``Replica.perform``, with this journal. What it refuses is raised by the next put."""
        todo = deque(effects)
        while todo:
            match todo.popleft():
                case Persist(records, then):
                    self._writer.append(records, lambda error, then=then: self._kept(then, error))
                case EnvelopesKept() as fact:
                    todo.extendleft(reversed(self.replica.documents.handle(fact, self.replica.clock.now())))
                case _:
                    pass

    def _kept(self, then: Sequence[Effect], error: Exception | None) -> None:
        if error is None:
            self._perform(then)
        self._broken = self._broken or error

    async def keep(self, records: Sequence[Record]) -> None:
        """Raises what the journal says when it refuses."""
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._writer.append(records, lambda error: _end(done, error))
        await done

    def close(self) -> None:
        self._writer.close()


def _end(done: asyncio.Future[None], error: Exception | None) -> None:
    if error is None:
        done.set_result(None)
    else:
        done.set_exception(error)


class Wire:
    """Replicas linked with each other without delay. ``bytes``: of all letters, by receiver."""

    def __init__(self, replicas: Sequence[Replica]) -> None:
        self.replicas = replicas
        self._by_node = {replica.node: replica for replica in replicas}
        self._queue: deque[tuple[Replica, Send]] = deque()
        self.bytes: dict[int, int] = dict.fromkeys(range(len(replicas)), 0)
        self.letters = 0

    def link(self, pairs: Iterator[tuple[int, int]]) -> None:
        for one, other in pairs:
            a, b = self.replicas[one], self.replicas[other]
            self.say(a, a.up(b))
            self.say(b, b.up(a))

    def say(self, sender: Replica, sends: Sequence[Send]) -> None:
        self._queue.extend((sender, send) for send in sends)

    def settle(self) -> None:
        """Deliver until nobody has anything to say, or to read."""
        while self._queue or self._read_on():
            while self._queue:
                sender, send = self._queue.popleft()
                receiver = self._by_node[send.peer]
                self.bytes[receiver.at] += len(send.body)
                self.letters += 1
                self.say(receiver, receiver.hear(sender, send))

    def run(self, clock: Clock, seconds: float) -> None:
        """Let so much time pass: timers fire in their order, and all that is said is delivered at once."""
        end_us = clock.now().mono_us + round(seconds * SECOND)
        while True:
            due = [(at, each.at) for each in self.replicas if (at := each.documents.deadline()) is not None]
            first_us, at = min(due, default=(end_us, 0))
            if first_us >= end_us:
                return
            now = clock.rest(max(0, first_us - clock.now().mono_us) / SECOND)
            self.say(self.replicas[at], self.replicas[at].wake(now))
            self.settle()

    def _read_on(self) -> bool:
        """Whoever has letters left takes a turn."""
        due = [replica for replica in self.replicas if replica.documents.is_reading]
        for replica in due:
            self.say(replica, replica.wake(replica.clock.now()))
        return bool(due)
