"""What a node signs about itself, and what is kept of it: bytes to pass on, and the few numbers asked for all the time.

Ten thousand of them must fit in a few MiB, so the rest of a row is decoded from its bytes whenever somebody asks.
"""

import enum
import hashlib
from typing import Annotated

import msgspec

from meshnode.gossip.letters import SIGNATURE_BYTES, Count, Id, SignedRow
from meshnode.gossip.press import Press
from meshnode.kernel.decoding import JUNK, decoded
from meshnode.kernel.ports import Member
from meshnode.links.tunnelwire import relay_at
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

CONTEXT = "directory/v1"
FACTS_BYTES_MAX = 4096


class Status(enum.IntEnum):
    """What a node says about itself."""

    ALIVE = 0
    LEFT = 1


Port = Annotated[int, msgspec.Meta(ge=1, le=65535)]
Host = Annotated[str, msgspec.Meta(min_length=1, max_length=253)]
Order = tuple[int, int, int]


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
    def order(self) -> Order:
        return (self.boot, self.incarnation, self.status)


class Entry(msgspec.Struct, frozen=True, gc=False):
    """A row that passed: the bytes to pass on, and who its node is.

    ``kept``: as it came, or with a ``press`` its signature and after that its body, packed. ``dialable``: it names an
    address that is not a relay's, which is asked of many before one is dialled.
    """

    boot: int
    incarnation: int
    status: Status
    kept: SignedRow | bytes
    member: Member
    dialable: bool
    press: Press | None = None

    @property
    def signed(self) -> SignedRow:
        """The bytes to pass on; of a packed one made anew for each question."""
        if isinstance(self.kept, SignedRow):
            return self.kept
        return SignedRow(self.body, self.kept[:SIGNATURE_BYTES], self.member.record)

    @property
    def body(self) -> bytes:
        """What the node signed."""
        if isinstance(self.kept, SignedRow):
            return self.kept.body
        assert self.press is not None, "a packed row knows what it was packed by"
        return self.press.unpacked(self.kept[SIGNATURE_BYTES:])

    @property
    def node(self) -> NodeId:
        return self.member.node

    @property
    def order(self) -> Order:
        return (self.boot, self.incarnation, self.status)

    @property
    def left(self) -> bool:
        return self.status is Status.LEFT

    @property
    def row(self) -> Row:
        """Decoded anew for each question: ask once, and only for what is not here."""
        return read(self.body)

    def packed(self, press: Press) -> "Entry":
        """The same row in less memory, at some microseconds for each look into it."""
        if not isinstance(self.kept, SignedRow) or self.kept.member is not self.member.record:
            return self
        data = self.kept.signature + press.packed(self.kept.body)
        return Entry(self.boot, self.incarnation, self.status, data, self.member, self.dialable, press)


_rows = msgspec.msgpack.Decoder(Row)
encode_row = msgspec.msgpack.Encoder().encode


def entry_of(row: Row, signed: SignedRow, member: Member) -> Entry:
    """Of a row that was checked. A member record that the trust keeps as well is kept once."""
    if signed.member == member.record:
        signed = SignedRow(signed.body, signed.signature, member.record)
    dialable = any(relay_at(host) is None for host, _ in row.endpoints)
    return Entry(row.boot, row.incarnation, row.status, signed, member, dialable)


def version_of(body: bytes) -> bytes:
    return hashlib.blake2b(body, digest_size=8).digest()


def read(body: bytes) -> Row:
    """The row in ``body``; raises ``RemoteError`` if it is none."""
    return decoded(_rows.decode, body, "row-malformed")


def check_facts(row: Row) -> None:
    try:
        msgspec.json.decode(row.facts, type=dict[str, msgspec.Raw])
    except JUNK as error:
        raise RemoteError("row-facts-malformed") from error
