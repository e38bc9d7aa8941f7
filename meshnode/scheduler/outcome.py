"""What one turn of the scheduler brings, gathered so that a thousand claims are one batch and one line of the story."""

from collections.abc import Sequence

import msgspec

from meshnode.kernel.decoding import JUNK
from meshnode.kernel.effects import Effect, Note, Persist
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.ids import AgentName, InstanceId
from meshnode.scheduler.messages import ClaimsChanged, UnitChanged, UnitClaimed, UnitReleased

_NAMED_MAX = 3


class ClaimRecord(msgspec.Struct, frozen=True, array_like=True):
    """What the journal keeps of a unit: the counter it has reached, and whether it is this node's."""

    counter: int
    mine: bool


_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(ClaimRecord).decode


def record_of(unit: InstanceId, counter: int, *, mine: bool) -> Record:
    return Record(RecordKind.CLAIM, unit.encode(), _encode(ClaimRecord(counter, mine)))


def read_records(records: Sequence[Record]) -> list[tuple[InstanceId, ClaimRecord]]:
    """What earlier boots had. What another version of this program wrote otherwise is passed over: that unit counts as
    new, and hears of its epoch from whoever has it."""
    found: list[tuple[InstanceId, ClaimRecord]] = []
    for record in records:
        if record.kind is RecordKind.CLAIM and record.body:
            try:
                found.append((InstanceId(record.key.decode()), _decode(record.body)))
            except JUNK:
                continue
    return found


class Outcome:
    """Releases first, then claims, then what to tell others and people.

    What is said of a unit whose claim may still be on its way to the disk (``opened`` false) waits in the same line.
    """

    def __init__(self) -> None:
        self._records: dict[InstanceId, Record] = {}
        self._now: list[Effect] = []
        self._then: list[Effect] = []
        self._told: dict[AgentName, None] = {}
        self._notes: dict[tuple[AgentName, str], list[InstanceId]] = {}

    def record(self, unit: InstanceId, counter: int, *, mine: bool) -> None:
        self._records[unit] = record_of(unit, counter, mine=mine)

    def claim(self, fact: UnitClaimed) -> None:
        self._then.append(fact)

    def release(self, fact: UnitReleased, *, opened: bool) -> None:
        (self._now if opened else self._then).append(fact)

    def change(self, fact: UnitChanged, *, opened: bool) -> None:
        (self._now if opened else self._then).append(fact)

    def tell(self, agent: AgentName) -> None:
        self._told[agent] = None

    def note(self, agent: AgentName, unit: InstanceId, text: str) -> None:
        self._notes.setdefault((agent, text), []).append(unit)

    def effects(self) -> list[Effect]:
        """A unit is only opened once its epoch is durable: none may ever be used twice. A release waits for nothing."""
        found = list(self._now)
        if self._records:
            found.append(Persist(tuple(self._records.values()), then=tuple(self._then)))
        found += [ClaimsChanged(agent) for agent in self._told]
        found += [Note(f"agent/{agent}", f"{_named(units)} {text}") for (agent, text), units in self._notes.items()]
        return found


def _named(units: Sequence[InstanceId]) -> str:
    if len(units) <= _NAMED_MAX:
        return ", ".join(units)
    return f"{len(units)} units ({units[0]} to {units[-1]})"
