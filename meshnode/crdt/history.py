"""The changes of one document and how they hang together: heads, ancestors, sequences. Knows no values.

Invariant: entries stand in causal order (a change after everything it depends on), and only grow; a change of an actor
stands on the one it made before.
"""

from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise

import msgspec

from meshnode.crdt.change import OpId, ParsedChange
from meshnode.crdt.envelope import UNROOTED, Carry, Pin
from meshnode.crdt.root import Layer, Rooted
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

Clock = dict[bytes, int]  # actor -> its last change


class Sealed(msgspec.Struct, frozen=True, gc=False):
    """A signed envelope as it travels. ``id``: hash of its last change; ``earlier``: of those before it, if any."""

    id: bytes
    author: NodeId
    hlc: int
    data: bytes
    boot: int = 0
    pin: Pin = UNROOTED
    carried: tuple[Carry, ...] = ()
    earlier: tuple[bytes, ...] = ()

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """Of all its changes, in order."""
        return *self.earlier, self.id


class Entry(msgspec.Struct, frozen=True, gc=False):
    """One change, as far as its place in the history goes. ``number``: its place in the causal order."""

    number: int
    actor: bytes
    seq: int
    start_op: int
    max_op: int
    deps: tuple[bytes, ...]
    envelope: Sealed | None  # none for a layer of the root
    keys: tuple[str, ...] = ()  # the field of each of its writes; empty for a layer

    def field(self, counter: int) -> str:
        """Which field its write of this number set."""
        return self.keys[counter - self.start_op]


class History:
    """Append-only. ``judge`` before ``append``. It begins with the layers of the root, if there is one."""

    # Thousands are kept: hashes stand in tuples, which the garbage collector need not look at.
    __slots__ = ("_chains", "_entries", "_heads", "_layers", "envelope_bytes")

    def __init__(self, rooted: Rooted | None = None) -> None:
        self._entries: dict[bytes, Entry] = {}
        self._chains: dict[bytes, tuple[bytes, ...]] = {}  # actor -> hashes, by seq from 1; layers are in no chain
        self._layers: tuple[Layer, ...] = rooted.layers if rooted is not None else ()
        self._heads: tuple[bytes, ...] = tuple(sorted([layer.hash for layer in self._layers]))
        self.envelope_bytes = 0
        for layer in self._layers:
            self._entries[layer.hash] = Entry(len(self._entries), layer.actor, 1, 1, layer.max_op, (), None)

    def __len__(self) -> int:
        return len(self._entries)

    def __contains__(self, change: bytes) -> bool:
        return change in self._entries

    def heads(self) -> tuple[bytes, ...]:
        return self._heads

    def count(self, actor: bytes) -> int:
        """How many changes of an actor are here."""
        return len(self._chains.get(actor, ()))

    def is_behind(self, clock: Clock) -> bool:
        """Whether somebody of this clock has something that is not here."""
        chains = self._chains
        return any(seq > len(chains.get(actor, ())) for actor, seq in clock.items())

    def missing(self, deps: Iterable[bytes]) -> list[bytes]:
        return [dep for dep in deps if dep not in self._entries]

    def at(self, actor: bytes, seq: int) -> bytes | None:
        """Hash of the change an actor made under this number."""
        chain = self._chains.get(actor, ())
        return chain[seq - 1] if 0 < seq <= len(chain) else None

    def envelope(self, change: bytes) -> Sealed:
        sealed = self._entries[change].envelope
        assert sealed is not None, "a layer of the root has no envelope"
        return sealed

    def judge(self, changes: Sequence[ParsedChange]) -> None:
        """Refuse what no honest replica could have written here. Dependencies must be known already."""
        first = changes[0]
        if first.seq != self.count(first.actor) + 1:
            raise RemoteError("sequence", f"{first.seq} after {self.count(first.actor)}")
        if self._layers and not first.deps:
            raise RemoteError("change-deps", "it does not stand on the root")
        # Or two of its writes could carry one number, and times of its chain would not say what a state includes.
        earlier = self.at(first.actor, first.seq - 1)
        if earlier is not None and earlier not in first.deps and earlier not in self.past(first.deps):
            raise RemoteError("change-deps", "it does not stand on what its author wrote before")
        # A higher number wins a field: without this rule a writer could win them all for ever.
        if first.start_op != 1 + self.max_op(first.deps):
            raise RemoteError("change-start-op", str(first.start_op))
        for before, change in pairwise(changes):
            chained = change.deps == (before.hash,) and change.start_op == before.max_op + 1
            if not chained or change.seq != before.seq + 1 or change.actor != before.actor:
                raise RemoteError("batch", "its changes are not one chain")

    def max_op(self, deps: Iterable[bytes]) -> int:
        highest = 0
        for dep in deps:
            highest = max(highest, self._entries[dep].max_op)
        return highest

    def stands_on(self, op: OpId, key: str, deps: Sequence[bytes]) -> bool:
        """Whether one of ``deps``, all known, made this write of a field itself. ``False`` says nothing."""
        counter, actor = op
        for dep in deps:
            entry = self._entries[dep]
            if entry.actor == actor and entry.keys and entry.start_op <= counter <= entry.max_op:
                return entry.keys[counter - entry.start_op] == key
        return False

    def wrote(self, op: OpId, key: str) -> bytes | None:
        """Hash of the change that made this write of a field, if one of those here did."""
        made_by = self._owner(op)
        return made_by if made_by is not None and self._entries[made_by].field(op[0]) == key else None

    def _owner(self, op: OpId) -> bytes | None:
        counter, actor = op
        chain = self._chains.get(actor, ())
        at = bisect_right(chain, counter, key=lambda change: self._entries[change].start_op)
        return chain[at - 1] if at and counter <= self._entries[chain[at - 1]].max_op else None

    def layer(self, op: OpId) -> Layer | None:
        """The layer of the root that made a write."""
        return next((layer for layer in self._layers if layer.actor == op[1]), None)

    def past(self, deps: Sequence[bytes]) -> "Past":
        """``deps``, all known, and anything they stand on."""
        return Past(self._entries, deps, is_all=tuple(deps) == self._heads)

    def append(self, changes: Sequence[ParsedChange], envelope: Sealed) -> None:
        entries, chains = self._entries, self._chains
        for change in changes:
            deps, heads, chain = change.deps, self._heads, chains.get(change.actor, ())
            actor = entries[chain[0]].actor if chain else change.actor  # what is equal is kept once
            if deps == heads:
                deps, self._heads = heads, (change.hash,)
            else:
                self._heads = tuple(sorted((*[head for head in heads if head not in deps], change.hash)))
            entries[change.hash] = Entry(
                len(entries), actor, change.seq, change.start_op, change.max_op, deps, envelope, change.keys
            )
            chains[actor] = (*chain, change.hash)
        self.envelope_bytes += len(envelope.data)

    def clock(self) -> Clock:
        """How many changes of each actor are here. An actor's changes form a chain, so this names exactly what is."""
        return {actor: len(chain) for actor, chain in self._chains.items()}

    def beyond(self, clock: Mapping[bytes, int]) -> list[Sealed]:
        """Envelopes with a change that somebody of this clock lacks, in causal order."""
        lacking = [
            self._entries[change]
            for actor, chain in self._chains.items()
            for change in chain[max(0, clock.get(actor, 0)) :]
        ]
        if len(lacking) > 1:
            lacking.sort(key=lambda entry: entry.number)
        return list({entry.envelope.id: entry.envelope for entry in lacking if entry.envelope is not None}.values())

    def up_to(self, heads: Sequence[bytes]) -> list[Sealed]:
        """Envelopes whose changes are all among ``heads`` or what they stand on, in causal order."""
        past = self.past(heads)
        return [each for each in self.beyond({}) if each.id in past]


class Past:
    """What some changes stand on, and they themselves. Gone over once, and only for more than the obvious."""

    __slots__ = ("_deps", "_entries", "_found")

    def __init__(self, entries: Mapping[bytes, Entry], deps: Sequence[bytes], *, is_all: bool) -> None:
        self._entries, self._deps = entries, deps
        self._found: Mapping[bytes, object] | None = entries if is_all else None

    def __contains__(self, change: bytes) -> bool:
        if change in self._deps:
            return True
        if self._found is None:
            self._found = self._gone_over()
        return change in self._found

    def _gone_over(self) -> dict[bytes, None]:
        found: dict[bytes, None] = dict.fromkeys(self._deps)
        todo = list(found)
        while todo:
            for dep in self._entries[todo.pop()].deps:
                if dep not in found:
                    found[dep] = None
                    todo.append(dep)
        return found
