"""Who is in the mesh: one signed row per node, held by all, edited by nobody but the node itself.

Rows are ordered by (boot, incarnation, status), equal ones by their bytes, so every node that has seen the same rows
holds the same directory whatever the order of arrival. A row that says ``left`` and a node forgotten are tombstones
with an index of their own: what is exchanged about the living does not grow with the dead.
"""

import enum
import hashlib
from collections.abc import Sequence
from typing import Annotated

import msgspec

from meshnode.gossip.census import Census
from meshnode.gossip.letters import Count, Id, SignedRow
from meshnode.kernel.fingerprints import Fingerprints
from meshnode.kernel.ports import Member, Trust, Verifier
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

CONTEXT = "directory/v1"
FACTS_BYTES_MAX = 4096
ROWS_MAX = 20_000


class Status(enum.IntEnum):
    """What a node says about itself."""

    ALIVE = 0
    LEFT = 1


Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Host = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]


class Row(msgspec.Struct, frozen=True, array_like=True):
    """What a node signs about itself."""

    node: Id
    boot: Count
    incarnation: Count
    status: Status
    endpoints: Annotated[tuple[tuple[Host, Port], ...], msgspec.Meta(max_length=16)]
    facts: Annotated[bytes, msgspec.Meta(max_length=FACTS_BYTES_MAX)]  # a JSON object
    wall_ms: int

    @property
    def order(self) -> tuple[int, int, int]:
        return (self.boot, self.incarnation, self.status)


class Entry(msgspec.Struct, frozen=True):
    """A row that passed, with the bytes to pass on."""

    row: Row
    signed: SignedRow
    member: Member


class Merge(msgspec.Struct, frozen=True):
    """What a row did. ``news`` false: what we hold is as new or newer. ``before``: what it replaced."""

    entry: Entry
    news: bool
    before: Entry | None = None


_rows = msgspec.msgpack.Decoder(Row)
_signed = msgspec.msgpack.Decoder(SignedRow)
encode_row = msgspec.msgpack.Encoder().encode


class Directory:
    """All rows known here."""

    def __init__(self, verifier: Verifier, trust: Trust) -> None:
        self._verifier = verifier
        self._trust = trust
        self._held: dict[NodeId, Entry] = {}
        self._forgotten: dict[NodeId, None] = {}
        self._unsaved: dict[NodeId, None] = {}
        self._census = Census()
        self.rows = Fingerprints()
        self.tombstones = Fingerprints()

    # -- questions ----------------------------------------------------------------------------------------------------

    def __contains__(self, node: NodeId) -> bool:
        return node in self._held

    def entry(self, node: NodeId) -> Entry | None:
        return self._held.get(node)

    def members(self) -> list[NodeId]:
        """Sorted; without tombstones."""
        return sorted(node for node in self._held if node in self.rows)

    def known(self) -> list[NodeId]:
        """Sorted; with those who said goodbye, without the forgotten."""
        return sorted(node for node in self._held if node not in self._forgotten)

    def all(self) -> Sequence[Entry]:
        """Every entry, tombstones included, in the order of first sight."""
        return tuple(self._held.values())

    def regions(self) -> Sequence[str]:
        """Sorted; those with at least one member."""
        return self._census.regions()

    def in_region(self, region: str) -> Sequence[NodeId]:
        """The members of a region, sorted. To be read at once, not kept."""
        return self._census.in_region(region)

    def named(self, name: str) -> NodeId | None:
        """The member of that name."""
        return self._census.named(name)

    # -- changes ------------------------------------------------------------------------------------------------------

    def offer(self, signed: SignedRow) -> Merge | None:
        """Take a row if it is valid and newer. ``None``: exactly the row held.

        Raises:
            RemoteError: it is no row, or not signed by the node and the admin it names.
        """
        row = read(signed.body)
        held = self._held.get(row.node)
        if held is not None and held.signed.body == signed.body:
            return None
        entry = Entry(row, signed, self._check(row, signed))
        if held is not None and (held.row.order, held.signed.body) > (row.order, signed.body):
            return Merge(entry, news=False, before=held)
        if held is None and len(self._held) >= ROWS_MAX:
            raise RemoteError("directory-full")
        return Merge(entry, news=True, before=held)

    def hold(self, merge: Merge, *, save: bool = True) -> None:
        """Keep a row that ``offer`` called news."""
        row, before = merge.entry.row, merge.before
        if before is not None:
            self._census.leave(row.node, before.member.region, before.member.name)
        self._held[row.node] = merge.entry
        self._forgotten.pop(row.node, None)
        self._index(merge.entry)
        if save and _worth_saving(merge):
            self._unsaved[row.node] = None

    def forget(self, node: NodeId) -> None:
        """Count a node among the dead until it signs something newer."""
        self._forgotten[node] = None
        self._index(self._held[node])

    def restore(self, records: Sequence[Record]) -> None:
        """Rows of the journal are checked like any other: a disk is not a friend."""
        for record in records:
            if record.kind is RecordKind.DIRECTORY and record.body:
                try:
                    merge = self.offer(_signed.decode(record.body))
                except (RemoteError, ValueError):
                    continue  # the next repair brings it again
                if merge is not None and merge.news:
                    self.hold(merge, save=False)

    def unsaved(self) -> tuple[Record, ...]:
        """Records for the rows that changed since the last call."""
        encode = msgspec.msgpack.encode
        records = tuple(Record(RecordKind.DIRECTORY, n, encode(self._held[n].signed)) for n in self._unsaved)
        self._unsaved.clear()
        return records

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
        _check_facts(row)
        return member

    def _index(self, entry: Entry) -> None:
        node = entry.row.node
        dead = entry.row.status is Status.LEFT or node in self._forgotten
        to, other = (self.tombstones, self.rows) if dead else (self.rows, self.tombstones)
        count = self._census.leave if dead else self._census.enter
        count(node, entry.member.region, entry.member.name)
        other.remove(node)
        to.put(node, version_of(entry.signed.body))


def version_of(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=8).digest()


def read(body: bytes) -> Row:
    """The row in ``body``; raises ``RemoteError`` if it is none."""
    try:
        return _rows.decode(body)
    except (ValueError, RecursionError) as error:  # of msgspec: junk, no UTF-8, or nested too deep
        raise RemoteError("row-malformed", str(error)[:80]) from error


def _check_facts(row: Row) -> None:
    try:
        msgspec.json.decode(row.facts, type=dict[str, msgspec.Raw])
    except (ValueError, RecursionError) as error:  # of msgspec, or text that is no UTF-8
        raise RemoteError("row-facts-malformed") from error


def _worth_saving(merge: Merge) -> bool:
    """A raised incarnation alone costs no write: after a restart the next repair brings it again."""
    if merge.before is None:
        return True
    old, new = merge.before, merge.entry
    unchanged = msgspec.structs.replace(old.row, incarnation=new.row.incarnation, wall_ms=new.row.wall_ms) == new.row
    return not unchanged or old.signed.member != new.signed.member
