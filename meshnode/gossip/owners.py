"""What each owner said, in few bytes a fact, and fingerprints of all of it by part.

A node of a large region holds thousands of owners, most of which say one thing: such an owner has no table of its
facts. No index repeats their keys either: of a part its sums are kept, since a fact knows its place in them, and rows
are looked for when a repair asks for them. As sums are XORs, a union of parts costs nothing to keep.
"""

from array import array
from collections.abc import Collection, Iterator, Sequence

import msgspec

from meshnode.gossip.facts import Fact
from meshnode.gossip.letters import SoftRefresh
from meshnode.kernel.fingerprints import BUCKETS, root_of
from meshnode.model.ids import NodeId

Row = tuple[bytes, bytes]  # key and version


class Held(msgspec.Struct, gc=False):
    """A fact as one node holds it."""

    fact: Fact
    heard_us: int  # when the owner said it, on our clock
    part: str


class Stand(msgspec.Struct, frozen=True, gc=False):
    """The last word of an owner that it stands by all its facts."""

    beat: int
    letter: SoftRefresh
    heard_us: int


class Owner(msgspec.Struct, gc=False):
    """One boot of one node, and what it said. ``Owners`` alone puts and pops, so that its sums are true."""

    boot: int
    stand: Stand | None = None
    stood_us: int = 0  # when it last signed anything: by that it stands by all it has not withdrawn
    watch_us: int = 0
    _said: Held | dict[str, Held] | None = None  # a table from the second fact on

    def __len__(self) -> int:
        return len(self.held())

    @property
    def beat(self) -> int:
        """Of the last word that it stands by its facts; -1: there was none."""
        return self.stand.beat if self.stand is not None else -1

    def get(self, key: str) -> Held | None:
        said = self._said
        if isinstance(said, dict):
            return said.get(key)
        return said if said is not None and said.fact.body.key == key else None

    def held(self) -> Collection[Held]:
        said = self._said
        if isinstance(said, dict):
            return said.values()
        return (said,) if said is not None else ()

    def put(self, held: Held) -> None:
        said, key = self._said, held.fact.body.key
        if isinstance(said, dict):
            said[key] = held
        elif said is None or said.fact.body.key == key:
            self._said = held
        else:
            self._said = {said.fact.body.key: said, key: held}

    def pop(self, key: str) -> Held:
        said = self._said
        if isinstance(said, dict):
            return said.pop(key)
        assert said is not None, "it said something"
        assert said.fact.body.key == key, "it said that"
        self._said = None
        return said


class Part:
    """The fingerprints of what is held of one part; a ``kernel.repair.Index``."""

    __slots__ = ("_len", "_owners", "_root", "_sums", "name")

    def __init__(self, owners: "Owners", name: str) -> None:
        self._owners, self.name = owners, name
        self._sums, self._len, self._root = array("Q", bytes(8 * BUCKETS)), 0, b""

    def __len__(self) -> int:
        return self._len

    def root(self) -> bytes:
        self._root = self._root or root_of(self.sums())
        return self._root

    def sums(self) -> dict[int, int]:
        """As of one ``Fingerprints`` with all its keys."""
        return {number: total for number, total in enumerate(self._sums) if total}

    def bucket(self, number: int) -> Sequence[Row]:
        return self._owners.rows(number, self.name)

    def version(self, key: bytes) -> bytes | None:
        held = self._owners.find(key)
        return held.fact.version if held is not None and held.part == self.name else None

    def mix(self, fact: Fact, count: int) -> None:
        """It comes or goes: ``count`` 1 or -1."""
        self._sums[fact.bucket] ^= fact.stamp
        self._len += count
        self._root = b""


class Owners:
    """All of them, by node. Read as an index it is that of all parts together."""

    def __init__(self) -> None:
        self._owners: dict[NodeId, Owner] = {}
        self._parts: dict[str, Part] = {}
        self._rows: dict[int, list[tuple[str, Fact]]] | None = None  # by bucket, until something changes

    def __len__(self) -> int:
        """How many facts."""
        return sum(len(part) for part in self._parts.values())

    def count(self) -> int:
        """How many owners."""
        return len(self._owners)

    def __iter__(self) -> Iterator[tuple[NodeId, Owner]]:
        return iter(self._owners.items())

    def get(self, node: NodeId) -> Owner | None:
        return self._owners.get(node)

    def begin(self, node: NodeId, boot: int) -> tuple[Owner, list[Held]]:
        """A boot of a node that said nothing yet. Returns what an older one said, which is not held any more."""
        before = self._owners.get(node)
        gone = list(before.held()) if before is not None else []
        for held in gone:
            self._mix(held, -1)
        owner = self._owners[node] = Owner(boot)
        return owner, gone

    def put(self, owner: Owner, held: Held) -> None:
        """In the place of what it said before under that key."""
        before = owner.get(held.fact.body.key)
        if before is not None:
            self._mix(before, -1)
        owner.put(held)
        self._mix(held, 1)

    def pop(self, owner: Owner, key: str) -> Held:
        """What it said under a key; it is held no more."""
        held = owner.pop(key)
        self._mix(held, -1)
        return held

    def find(self, key: bytes) -> Held | None:
        """By the key of the index: the owner and its key."""
        owner = self._owners.get(NodeId(key[:32]))
        return owner.get(key[32:].decode(errors="replace")) if owner is not None else None

    # -- the index ----------------------------------------------------------------------------------------------------

    def names(self) -> Sequence[str]:
        """Of parts with at least one fact, sorted."""
        return sorted(self._parts)

    def part(self, name: str) -> Part:
        """An empty one if nothing of it is held."""
        return self._parts.get(name) or Part(self, name)

    def root(self) -> bytes:
        return root_of(dict(sorted(self.sums().items())))

    def sums(self) -> dict[int, int]:
        totals: dict[int, int] = {}
        for part in self._parts.values():
            for number, total in part.sums().items():
                totals[number] = totals.get(number, 0) ^ total
        return {number: total for number, total in totals.items() if total}

    def bucket(self, number: int) -> Sequence[Row]:
        return self.rows(number)

    def version(self, key: bytes) -> bytes | None:
        held = self.find(key)
        return held.fact.version if held is not None else None

    def rows(self, number: int, part: str | None = None) -> Sequence[Row]:
        """Of one bucket, of a part or of all, sorted by key."""
        if self._rows is None:
            self._rows = {}
            for owner in self._owners.values():
                for held in owner.held():
                    self._rows.setdefault(held.fact.bucket, []).append((held.part, held.fact))
        found = self._rows.get(number, ())
        return sorted((fact.key, fact.version) for each, fact in found if part is None or each == part)

    def _mix(self, held: Held, count: int) -> None:
        self._rows = None
        part = self._parts.get(held.part)
        if part is None:
            part = self._parts[held.part] = Part(self, held.part)
        part.mix(held.fact, count)
        if not len(part):
            del self._parts[held.part]
