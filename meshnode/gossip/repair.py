"""The periodic repair: what the rumours missed is found by comparing fingerprints, never by listing everything.

Rows, tombstones and soft facts take part, in a large mesh the catalogue and the facts of each region as well, these
with peers that hold the region. While two nodes agree, an exchange is one letter of roots.

A big difference of rows (two meshes that meet) is evened out in slices, each node beginning at another place: what one
learns is announced to all, so that nobody pulls everything and no link carries it at once.
"""

import itertools
from bisect import bisect_left
from collections.abc import Container, Sequence

from meshnode.gossip.budget import Budgets, Kind
from meshnode.gossip.catalogue import Catalogue
from meshnode.gossip.catalogue import row_letters as catalogue_letters
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.directory import Directory
from meshnode.gossip.letters import BATCH_BYTES, REGIONS_MAX, Pull, Repair, Roots, Rows, SignedFact, SignedRow, post
from meshnode.gossip.newcomers import Newcomers
from meshnode.gossip.soft import SoftState
from meshnode.kernel import repair
from meshnode.kernel.effects import Effect, Send
from meshnode.kernel.fingerprints import Fingerprints
from meshnode.kernel.instant import MS, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.repair import Index
from meshnode.kernel.rng import Random
from meshnode.kernel.timers import Timers
from meshnode.model.ids import NodeId

ROWS, TOMBSTONES, SOFT, CATALOGUE, REGION = range(5)
KEYS_MAX = 4096
ANSWER_BYTES = BATCH_BYTES // 8  # so much a link that is busy with repairs must have to spare for an answer
FACT_BYTES = 80  # of a row of the catalogue around its body
ROW_BYTES = 80  # of a row around its body and its member record
SLICE = 200  # rows either way in one exchange
AGAIN_US = 250 * MS  # the next slice
ASKED_US = 1_000 * MS  # so long somebody who was asked for a row is waited for
LEARNT_US = 1_000 * MS  # by then the rows have come that say how big the mesh is


class Repairs:
    """The dialogue of ``kernel/repair.py`` over all indexes of this room."""

    def __init__(
        self, config: GossipConfig, directory: Directory, soft: SoftState, catalogue: Catalogue, rng: Random,
        budgets: Budgets | None = None, newcomers: Newcomers | None = None,
    ) -> None:  # fmt: skip
        self._node, self._every_us = config.node, config.repair_every_us
        self._directory, self._soft, self._catalogue, self._rng = directory, soft, catalogue, rng
        self._due_us: int | None = None
        self._again: Timers[NodeId] = Timers()
        self._asked: dict[bytes, int] = {}  # rows asked for lately, until when
        self._budgets = budgets or Budgets(config.profile)
        self._newcomers = newcomers

    def start(self, now: Instant) -> None:
        self._due_us = now.mono_us + self._pause_us()

    def open(self, peer: NodeId, *, patient: bool = False) -> list[Effect]:
        """``patient``: nothing says that there is a difference, so the question may wait for something to ride on."""
        return [post(peer, self._roots(peer), patient=patient)]

    def _roots(self, peer: NodeId) -> Roots:
        rows, tombstones = self._directory.rows.root(), self._directory.tombstones.root()
        if self._soft.scope.small:
            return Roots(rows, tombstones, self._soft.index.root())
        shared = self._soft.scope.shared(peer, self._soft.index.names())[:REGIONS_MAX]
        regions = {region: self._soft.index.part(region).root() for region in shared}
        return Roots(rows, tombstones, self._index(SOFT).root(), regions, self._index(CATALOGUE).root())

    def roots(self, peer: NodeId, letter: Roots, now: Instant) -> list[Effect]:
        if self._owes(peer, letter.rows, now):
            return []
        found = [(ROWS, letter.rows, ""), (TOMBSTONES, letter.tombstones, "")]
        if bool(letter.catalogue) is not self._soft.scope.small:  # else one of us has yet to learn how big the mesh is
            found.append((SOFT, letter.soft, ""))
        elif letter.catalogue:
            self._again.set(peer, now.mono_us + LEARNT_US)
        if letter.catalogue and not self._soft.scope.small:
            found.append((CATALOGUE, letter.catalogue, ""))
            found += [(REGION, root, region) for region, root in letter.regions.items() if self._shares(peer, region)]
        effects: list[Effect] = []
        for number, root, region in found:
            answer = repair.answer(self._index(number, region), repair.RepairRoot(root))
            if isinstance(answer, repair.RepairSums):
                effects.append(post(peer, Repair(number, answer, region)))
        return effects

    def _owes(self, peer: NodeId, told: bytes | dict[int, int] | None, now: Instant) -> bool:
        """Whether it waits to be given all rows, as who knows nobody but itself, or us: there is nothing to compare.
        Before that all else would be about nodes it does not know. ``told``: the root or the sums of its rows."""
        rows = self._directory.rows
        if self._newcomers is None or len(rows) > SLICE:
            return False
        if self._newcomers.owed(peer):
            return True
        if told is None or told == rows.root():
            return False
        alone = Fingerprints()
        for node in (peer, self._node):
            version = rows.version(node)
            if version is not None:
                alone.put(node, version)
            if told in (alone.root(), alone.sums()) and len(alone) < len(rows):
                self._newcomers.owe(peer, now)
                return True
        return False

    def give(self, peer: NodeId, but: Container[NodeId], now: Instant) -> list[Effect]:
        """All rows but some, to who knows nobody."""
        nodes = [node for node in self._directory.members() if node not in (self._node, peer) and node not in but]
        return self._push(peer, ROWS, nodes, now)

    def step(self, peer: NodeId, letter: Repair, now: Instant) -> list[Effect]:
        if letter.index == REGION and not self._shares(peer, letter.region):
            return []
        sums = letter.step.sums if isinstance(letter.step, repair.RepairSums) and letter.index == ROWS else None
        if self._owes(peer, sums, now):
            return []
        answer = repair.answer(self._index(letter.index, letter.region), letter.step)
        if answer is None:
            return []
        if not isinstance(answer, repair.Difference):
            return self._answered(peer, post(peer, Repair(letter.index, answer, letter.region)), now)
        push, wanted = self._slice(peer, letter.index, answer, now)
        pull: list[Effect] = [post(peer, Pull(letter.index, wanted, letter.region))] if wanted else []
        return [*self._push(peer, letter.index, push, now), *pull]

    def pulled(self, peer: NodeId, letter: Pull, now: Instant) -> list[Effect]:
        return self._push(peer, letter.index, letter.keys, now)

    def wake(self, peers: Sequence[NodeId], now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for peer in self._again.pop_due(now.mono_us):
            effects += self.open(peer) if peer in peers else []
        if self._due_us is not None and self._due_us <= now.mono_us:
            self._due_us = now.mono_us + self._pause_us()
            effects += self.open(self._rng.choice(peers), patient=True) if peers else []
        return effects

    def deadline(self) -> int | None:
        return earliest(self._due_us, self._again.deadline())

    # -- inside -------------------------------------------------------------------------------------------------------

    def _answered(self, peer: NodeId, answer: Send, now: Instant) -> list[Effect]:
        """A few bytes of a peer may ask for many: a link that carries its share of repairs already has to wait."""
        ready_us = self._budgets.ready_us(peer, Kind.REPAIR, min(len(answer.body), ANSWER_BYTES), now.mono_us)
        if ready_us <= now.mono_us:
            return [answer]
        self._again.set(peer, max(ready_us, now.mono_us + AGAIN_US))
        return []

    def _push(self, peer: NodeId, index: int, keys: Sequence[bytes], now: Instant) -> list[Effect]:
        """What we hold under some keys of an index. Soft facts leave with all else the peer has to be told of them."""
        if index in (SOFT, REGION):
            self._soft.owe(peer, keys, now)
            return []
        if index == CATALOGUE:
            return self._catalogue_within_budget(peer, self._catalogue.pack(keys, now), now)
        entries = [self._directory.entry(NodeId(key)) for key in keys]
        return self._within_budget(peer, [entry.signed for entry in entries if entry is not None], now)

    def _within_budget(self, peer: NodeId, rows: Sequence[SignedRow], now: Instant) -> list[Effect]:
        """What does not fit is shed: the next exchange finds it again, or somebody else has brought it by then."""
        room = self._budgets.allowed(peer, Kind.REPAIR, now.mono_us)
        fitting: list[SignedRow] = []
        for row in rows:
            room -= len(row.body) + len(row.member) + ROW_BYTES
            if room < 0:
                ready_us = self._budgets.ready_us(peer, Kind.REPAIR, BATCH_BYTES, now.mono_us)
                self._again.set(peer, max(ready_us, now.mono_us + AGAIN_US))
                break
            fitting.append(row)
        return row_letters(peer, fitting)

    def _catalogue_within_budget(self, peer: NodeId, rows: Sequence[SignedFact], now: Instant) -> list[Effect]:
        room = self._budgets.allowed(peer, Kind.REPAIR, now.mono_us)
        sizes = itertools.accumulate(len(row.body) + FACT_BYTES for row in rows)
        fitting = sum(size <= room for size in sizes)
        if fitting < len(rows):
            ready_us = self._budgets.ready_us(peer, Kind.REPAIR, ANSWER_BYTES, now.mono_us)
            self._again.set(peer, max(ready_us, now.mono_us + AGAIN_US))
        return catalogue_letters(peer, rows[:fitting])

    def _slice(
        self, peer: NodeId, index: int, found: repair.Difference, now: Instant
    ) -> tuple[Sequence[bytes], list[bytes]]:
        """Both ways of a difference, bounded; the rest follows soon."""
        if index not in (ROWS, TOMBSTONES):
            return found.push, list(found.pull[:KEYS_MAX])
        push, pull = self._part_of(found.push), self._part_of(self._unasked(found.pull, now))
        self._asked |= dict.fromkeys(pull, now.mono_us + ASKED_US)
        if len(push) < len(found.push) or len(pull) < len(found.pull):
            self._again.set(peer, now.mono_us + AGAIN_US)
        return push, pull

    def _unasked(self, keys: Sequence[bytes], now: Instant) -> list[bytes]:
        """Without those that another neighbour is about to bring, or has brought and that wait to be checked."""
        self._asked = {key: until_us for key, until_us in self._asked.items() if until_us > now.mono_us}
        return [key for key in keys if key not in self._asked]

    def _part_of(self, keys: Sequence[bytes]) -> list[bytes]:
        """Those at and after our own id: each node begins elsewhere."""
        if len(keys) <= SLICE:
            return list(keys)
        ordered = sorted(keys)
        begin = bisect_left(ordered, self._node)
        return (ordered[begin:] + ordered[:begin])[:SLICE]

    def _index(self, number: int, region: str = "") -> Index:
        match number:
            case 0:
                return self._directory.rows
            case 1:
                return self._directory.tombstones
            case 2:
                return self._soft.index if self._soft.scope.small else self._soft.index.part("")
            case 3:
                return self._catalogue.index
            case _:
                return self._soft.index.part(region)

    def _shares(self, peer: NodeId, region: str) -> bool:
        """Both hold the facts of a region."""
        return bool(region) and self._soft.scope.holds(region) and self._soft.scope.wants(peer, region)

    def _pause_us(self) -> int:
        return round(self._every_us * (0.8 + 0.4 * self._rng.random()))


def row_letters(peer: NodeId, rows: Sequence[SignedRow]) -> list[Effect]:
    """Letters of a bounded size."""
    effects: list[Effect] = []
    batch: list[SignedRow] = []
    size = 0
    for row in rows:
        batch.append(row)
        size += len(row.body) + len(row.member) + ROW_BYTES
        if size >= BATCH_BYTES:
            effects.append(post(peer, Rows(batch)))
            batch, size = [], 0
    if batch:
        effects.append(post(peer, Rows(batch)))
    return effects
