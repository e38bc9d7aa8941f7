"""What calls have taught about who answers how fast: the memory behind the ranking.

A record fades: what was seen more than ``FADES_US`` ago says nothing, so that whoever was slow or broken is tried
again.
"""

import msgspec

from meshnode.kernel.instant import SECOND
from meshnode.model.ids import NodeId
from meshnode.registry.ranks import Ranks

FADES_US = 30 * SECOND
RECORDS_MAX = 10_000
SUCCESS_MIN = 0.05  # divides the expected time: who always fails is 20 times as far away
_NEW = 0.2  # weight of the newest observation, as usual for an EWMA of round trips


class Record(msgspec.Struct):
    """Of one skill of one agent on one node. ``service_us``: without the way there and back."""

    service_us: float
    success: float
    seen_us: int


Key = tuple[NodeId, str, str]


class Held:
    """The nodes there are records of, for one skill of one agent."""

    def __init__(self) -> None:
        self._nodes: dict[NodeId, None] = {}
        self._bits, self._edition = 0, -1

    def __bool__(self) -> bool:
        return bool(self._nodes)

    def put(self, node: NodeId) -> None:
        if node not in self._nodes:
            self._nodes[node] = None
            self._edition = -1

    def remove(self, node: NodeId) -> None:
        del self._nodes[node]
        self._edition = -1

    def bits(self, ranks: Ranks) -> int:
        """As a set; those without a place left out."""
        if self._edition != ranks.edition:
            self._edition, self._bits = ranks.edition, 0
            for node in self._nodes:
                self._bits |= ranks.bit(node)
        return self._bits


class Records:
    """Observed latency and success, and calls in flight."""

    def __init__(self) -> None:
        self._records: dict[Key, Record] = {}
        self._held: dict[tuple[str, str], Held] = {}  # by agent and skill
        self._queues: dict[tuple[NodeId, str], int] = {}

    def observed(self, key: Key, service_us: int, now_us: int, *, ok: bool) -> None:
        record = self._records.get(key)
        if record is None or now_us - record.seen_us > FADES_US:
            if len(self._records) >= RECORDS_MAX:
                self._forget(next(iter(self._records)))
            self._records[key] = Record(float(service_us), 1.0 if ok else 0.5, now_us)
            self._held.setdefault(key[1:], Held()).put(key[0])
            return
        record.service_us += _NEW * (service_us - record.service_us)
        record.success += _NEW * ((1.0 if ok else 0.0) - record.success)
        record.seen_us = now_us

    def queued(self, node: NodeId, agent: str, by: int) -> None:
        place = node, agent
        count = self._queues.get(place, 0) + by
        assert count >= 0
        if count:
            self._queues[place] = count
        else:
            del self._queues[place]

    def queue(self, node: NodeId, agent: str) -> int:
        return self._queues.get((node, agent), 0)

    def held(self, agent: str, skill: str) -> Held | None:
        """Whom there are records of; some may have faded."""
        return self._held.get((agent, skill))

    def fresh(self, key: Key, now_us: int) -> bool:
        """Whether the record of ``key`` says anything yet. One that has faded is forgotten here."""
        record = self._records.get(key)
        if record is not None and now_us - record.seen_us > FADES_US:
            self._forget(key)
            return False
        return record is not None

    def success(self, key: Key, now_us: int) -> float:
        """1 for whom nothing is known of: trying is the way to know."""
        record = self._records.get(key)
        return 1.0 if record is None or now_us - record.seen_us > FADES_US else record.success

    def expected_us(self, key: Key, rtt_us: int, units: int, now_us: int) -> int:
        """How long an answer will take: the way, then our own queue at its units, worse the less often it works."""
        record = self._records.get(key)
        if record is None or now_us - record.seen_us > FADES_US:
            return rtt_us
        queue = self._queues.get((key[0], key[1]), 0)
        expected = rtt_us + record.service_us * (1 + queue / max(1, units))
        return int(expected / max(SUCCESS_MIN, record.success))

    def _forget(self, key: Key) -> None:
        del self._records[key]
        held = self._held[key[1:]]
        held.remove(key[0])
        if not held:
            del self._held[key[1:]]
