"""The periodic repair: what the rumours missed is found by comparing fingerprints, never by listing everything.

Three indexes take part: rows, tombstones, soft facts. While two nodes agree, an exchange is one letter of three roots.
"""

from collections.abc import Sequence

from meshnode.gossip.config import GossipConfig
from meshnode.gossip.directory import Directory
from meshnode.gossip.facts import batches
from meshnode.gossip.letters import BATCH_BYTES, Pull, Repair, Roots, Rows, SignedRow, post
from meshnode.gossip.soft import SoftState
from meshnode.kernel import repair
from meshnode.kernel.effects import Effect
from meshnode.kernel.fingerprints import Fingerprints
from meshnode.kernel.instant import Instant
from meshnode.kernel.rng import Random
from meshnode.model.ids import NodeId

SOFT = 2
KEYS_MAX = 4096


class Repairs:
    """The dialogue of ``kernel/repair.py`` over the three indexes of this room."""

    def __init__(self, config: GossipConfig, directory: Directory, soft: SoftState, rng: Random) -> None:
        self._every_us = config.repair_every_us
        self._directory, self._soft, self._rng = directory, soft, rng
        self._due_us: int | None = None

    def start(self, now: Instant) -> None:
        self._due_us = now.mono_us + self._pause_us()

    def open(self, peer: NodeId) -> list[Effect]:
        return [post(peer, Roots(*(index.root() for index in self._indexes())))]

    def roots(self, peer: NodeId, letter: Roots) -> list[Effect]:
        effects: list[Effect] = []
        for number, root in enumerate((letter.rows, letter.tombstones, letter.soft)):
            answer = repair.answer(self._indexes()[number], repair.RepairRoot(root))
            if isinstance(answer, repair.RepairSums):
                effects.append(post(peer, Repair(number, answer)))
        return effects

    def step(self, peer: NodeId, letter: Repair, now: Instant) -> list[Effect]:
        answer = repair.answer(self._indexes()[letter.index], letter.step)
        if answer is None:
            return []
        if not isinstance(answer, repair.Difference):
            return [post(peer, Repair(letter.index, answer))]
        pull: list[Effect] = [post(peer, Pull(letter.index, list(answer.pull[:KEYS_MAX])))] if answer.pull else []
        return [*self.push(peer, letter.index, answer.push, now), *pull]

    def push(self, peer: NodeId, index: int, keys: Sequence[bytes], now: Instant) -> list[Effect]:
        """What we hold under some keys of an index."""
        if index == SOFT:
            return batches(peer, self._soft.pack(keys, now))
        entries = [self._directory.entry(NodeId(key)) for key in keys]
        return row_letters(peer, [entry.signed for entry in entries if entry is not None])

    def wake(self, peers: Sequence[NodeId], now: Instant) -> list[Effect]:
        if self._due_us is None or self._due_us > now.mono_us:
            return []
        self._due_us = now.mono_us + self._pause_us()
        return self.open(self._rng.choice(peers)) if peers else []

    def deadline(self) -> int | None:
        return self._due_us

    def _indexes(self) -> tuple[Fingerprints, Fingerprints, Fingerprints]:
        return self._directory.rows, self._directory.tombstones, self._soft.index

    def _pause_us(self) -> int:
        return round(self._every_us * (0.8 + 0.4 * self._rng.random()))


def row_letters(peer: NodeId, rows: Sequence[SignedRow]) -> list[Effect]:
    """Letters of a bounded size."""
    effects: list[Effect] = []
    batch: list[SignedRow] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.body) + len(row.member) + 80
        if size >= BATCH_BYTES:
            effects.append(post(peer, Rows(batch)))
            batch, size = [], 0
    if batch:
        effects.append(post(peer, Rows(batch)))
    return effects
