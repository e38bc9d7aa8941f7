"""Who is in the mesh: one signed row per node, held by all, edited by nobody but the node itself.

Rows are ordered by (boot, incarnation, status), equal ones by their bytes, so every node that has seen the same rows
holds the same directory whatever the order of arrival. A row that says ``left`` and a node forgotten are tombstones
with an index of their own: what is exchanged about the living does not grow with the dead.
"""

import itertools
from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from meshnode.gossip.census import Census
from meshnode.gossip.ground import Address, Ground, Rolodex
from meshnode.gossip.letters import SignedRow
from meshnode.gossip.press import Press
from meshnode.gossip.row import (
    CONTEXT,
    FACTS_BYTES_MAX,
    Entry,
    Row,
    Status,
    check_facts,
    encode_row,
    entry_of,
    read,
    version_of,
)
from meshnode.kernel.decoding import JUNK
from meshnode.kernel.fingerprints import Fingerprints
from meshnode.kernel.ports import Member, Trust, Verifier
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

__all__ = [
    "CONTEXT",
    "FACTS_BYTES_MAX",
    "Directory",
    "Entry",
    "Merge",
    "Row",
    "Status",
    "encode_row",
    "read",
    "version_of",
]

ROWS_MAX = 20_000
PACKED_FROM = 512  # what fewer weigh is not worth the time
FEW_MAX = 16


class Merge(msgspec.Struct, frozen=True):
    """What a row did. ``news`` false: what we hold is as new or newer. ``before``: what it replaced, ``old``: its row.

    ``known``: that one was not forgotten. ``facts_only``: all that is news of a member are its facts and its
    incarnation: who it is, where it is dialled and of which boot it is has not changed.
    """

    entry: Entry
    row: Row
    news: bool
    before: Entry | None = None
    old: Row | None = None
    known: bool = False
    facts_only: bool = False


_signed = msgspec.msgpack.Decoder(SignedRow)


class Directory:
    """All rows known here; those of a ``ground`` are held only where they differ from it."""

    def __init__(
        self, verifier: Verifier, trust: Trust, ground: Ground | None = None, *, packed_from: int = PACKED_FROM
    ) -> None:
        """``packed_from``: of more rows than this all further ones are kept packed."""
        self._press: Press | None = None
        self._packed_from = packed_from
        self._verifier = verifier
        self._trust = trust
        self._below: dict[NodeId, Entry] = ground.entries if ground else {}  # never changed here
        self._held: dict[NodeId, Entry] = {}
        self._added = 0  # of the held ones, those the ground does not know
        self._forgotten: dict[NodeId, None] = {}
        self._unsaved: dict[NodeId, bool] = {}  # whether it was not known before
        self._census = Census(ground.census if ground else None)
        self._below_at, self._at = ground.rolodex if ground else Rolodex(), Rolodex()
        self._members: list[NodeId] = ground.members if ground else []
        self._shared = True  # others may hold that very list: copied before it changes
        self.rows = Fingerprints(ground.rows if ground else None)
        self.tombstones = Fingerprints(ground.tombstones if ground else None)

    # -- questions ----------------------------------------------------------------------------------------------------

    def __contains__(self, node: NodeId) -> bool:
        return node in self._held or node in self._below

    def __len__(self) -> int:
        """Tombstones included."""
        return len(self._below) + self._added

    def entry(self, node: NodeId) -> Entry | None:
        return self._held.get(node) or self._below.get(node)

    def present(self, node: NodeId) -> Entry | None:
        """The entry of a member; ``None`` for the dead and the unknown."""
        return self.entry(node) if node in self.rows else None

    def counted(self, node: NodeId) -> Entry | None:
        """The entry of a node that is not forgotten."""
        return None if node in self._forgotten else self.entry(node)

    def members(self) -> Sequence[NodeId]:
        """Sorted; without tombstones. One list for all who ask until somebody comes or goes."""
        self._shared = True
        return self._members

    def known(self) -> list[NodeId]:
        """Sorted; with those who said goodbye, without the forgotten."""
        return sorted(node for node in self._nodes() if node not in self._forgotten)

    def all(self) -> Sequence[Entry]:
        """Every entry, tombstones included: those of the ground, then in the order of first sight."""
        return tuple(self._held.get(node) or self._below[node] for node in self._nodes())

    def own(self) -> Iterable[Entry]:
        """Those that are not the ground's."""
        return self._held.values()

    def regions(self) -> Sequence[str]:
        """Sorted; those with at least one member."""
        return self._census.regions()

    def in_region(self, region: str) -> Sequence[NodeId]:
        """The members of a region, sorted. To be read at once, not kept."""
        return self._census.in_region(region)

    def named(self, name: str) -> NodeId | None:
        """The member of that name."""
        return self._census.named(name)

    def names(self, node: NodeId, address: Address) -> bool:
        """Whether the row of a node names an address. Rows that do not are hardly ever looked into."""
        if node not in self._below_at.holders(address) and node not in self._at.holders(address):
            return False
        entry = self.entry(node)
        return entry is not None and address in entry.row.endpoints

    def holder(self, address: Address) -> NodeId | None:
        """Whose row names an address: of several the one known first."""
        for node in (*self._below_at.holders(address), *self._at.holders(address)):
            entry = self.entry(node)
            if entry is not None and address in entry.row.endpoints:
                return node
        return None

    # -- changes ------------------------------------------------------------------------------------------------------

    def offer(self, signed: SignedRow) -> Merge | None:
        """Take a row if it is valid and newer. ``None``: exactly the row held.

        Raises:
            RemoteError: it is no row, or not signed by the node and the admin it names.
        """
        row = read(signed.body)
        held = self.entry(row.node)
        if held is not None and held.order == row.order and held.body == signed.body:
            return None
        entry = entry_of(row, signed, self._check(row, signed))
        if held is not None and (held.order, held.body) > (row.order, signed.body):
            return Merge(entry, row, news=False, before=held)
        if held is None and len(self) >= ROWS_MAX:
            raise RemoteError("directory-full")
        known = held is not None and row.node not in self._forgotten
        old = held.row if held is not None else None
        only = known and old is not None and _tells_facts_only(held, old, entry, row)
        return Merge(entry, row, news=True, before=held, old=old, known=known, facts_only=only)

    def hold(self, merge: Merge, *, save: bool = True) -> None:
        """Keep a row that ``offer`` called news."""
        node, before = merge.entry.node, merge.before  # the same bytes in all tables: of thousands each copy counts
        if merge.facts_only:
            self._held[node] = self._folded(merge.entry)
            self.rows.put(node, version_of(merge.entry.body))
        else:
            if before is not None:
                self._depart(before, merge)
            self._added += before is None
            self._held[node] = self._folded(merge.entry)
            self._at.enter(node, merge.row.endpoints)
            self._forgotten.pop(node, None)
            self._index(merge.entry)
        if save and _worth_saving(merge):
            self._unsaved[node] = before is None or self._unsaved.get(node, False)

    def forget(self, node: NodeId) -> None:
        """Count a node among the dead until it signs something newer."""
        entry = self.entry(node)
        assert entry is not None, "only a known node can be forgotten"
        self._forgotten[node] = None
        self._index(entry)

    def recall(self, record: Record) -> Entry | None:
        """A row of the journal, if it is news: it is checked like any other, since a disk is not a friend."""
        try:
            merge = self.offer(_signed.decode(record.body))
        except (RemoteError, *JUNK):
            return None  # the next repair brings it again
        if merge is None or not merge.news:
            return None
        self.hold(merge, save=False)
        return merge.entry

    @property
    def changed(self) -> bool:
        """Some rows are to be saved."""
        return bool(self._unsaved)

    @property
    def known_only(self) -> bool:
        """What is to be saved are newer rows of a few nodes that the journal knows."""
        return len(self._unsaved) <= FEW_MAX and not any(self._unsaved.values())

    def unsaved(self, most: int | None = None) -> tuple[Record, ...]:
        """Records for the rows that changed since the last call; of many the first to change."""
        encode = msgspec.msgpack.encode
        nodes = tuple(itertools.islice(self._unsaved, most))
        for node in nodes:
            del self._unsaved[node]
        return tuple(Record(RecordKind.DIRECTORY, node, encode(self._held[node].signed)) for node in nodes)

    def _check(self, row: Row, signed: SignedRow) -> Member:
        member = self._trust.member(row.node)
        if member is None or member.record != signed.member:
            admitted = self._trust.admit(signed.member)
            if isinstance(admitted, str):
                raise RemoteError(f"row-member-{admitted}")
            member = admitted
        if member.node != row.node:
            raise RemoteError("row-of-another-node")
        if not self._verifier.verify(member.public_key, CONTEXT, signed.body, signed.signature):
            raise RemoteError("row-forged")
        check_facts(row)
        return member

    # -- indexes ------------------------------------------------------------------------------------------------------

    def _folded(self, entry: Entry) -> Entry:
        """As it is kept."""
        if len(self._held) < self._packed_from:
            return entry
        if self._press is None:
            self._press = Press(entry.body)
        return entry.packed(self._press)

    def _nodes(self) -> Iterator[NodeId]:
        yield from self._below
        for node in self._held:
            if node not in self._below:
                yield node

    def _depart(self, before: Entry, merge: Merge) -> None:
        """What the older row said holds no more."""
        old, new = before.member, merge.entry.member
        if (old.region, old.name) != (new.region, new.name):
            self._census.leave(old.node, old.region, old.name)
        if old.node in self._held and merge.old is not None:
            gone = [address for address in merge.old.endpoints if address not in merge.row.endpoints]
            self._at.leave(old.node, gone)

    def _index(self, entry: Entry) -> None:
        node = entry.node
        dead = entry.left or node in self._forgotten
        to, other = (self.tombstones, self.rows) if dead else (self.rows, self.tombstones)
        count = self._census.leave if dead else self._census.enter
        count(node, entry.member.region, entry.member.name)
        self._count(node, there=not dead)
        other.remove(node)
        to.put(node, version_of(entry.body))

    def _count(self, node: NodeId, *, there: bool) -> None:
        if (node in self.rows) is there:
            return
        if self._shared:
            self._members, self._shared = self._members.copy(), False
        at = bisect_left(self._members, node)
        if there:
            self._members.insert(at, node)
        else:
            del self._members[at]


def _tells_facts_only(before: Entry | None, old: Row, entry: Entry, row: Row) -> bool:
    """It says nothing else of a member than facts."""
    return (
        before is not None
        and not entry.left
        and (old.boot, old.status, old.endpoints) == (row.boot, row.status, row.endpoints)
        and before.member == entry.member
    )


def _worth_saving(merge: Merge) -> bool:
    """A raised incarnation alone costs no write: after a restart the next repair brings it again."""
    if merge.before is None or merge.old is None:
        return True
    row = merge.row
    unchanged = msgspec.structs.replace(merge.old, incarnation=row.incarnation, wall_ms=row.wall_ms) == row
    return not unchanged or merge.before.signed.member != merge.entry.signed.member
