"""The stick: signed envelopes in a file, carried by hand between nodes that never meet on a network.

    magic 8 | header length u32 | header | (item length u32 | item) ... | SHA-256 of all before 32

    header   [version, mesh, name of the node that wrote it, wall time ms, items]       item   [kind, bytes]

Big endian. A stick is read whole or not at all: length, sum, mesh, counts and the frame of every item are judged before
the first one is given to anybody. It proves nothing by itself and need not: each envelope passes the same gate as one
that a peer brings, each member record the same judgement, so a hostile stick is a hostile peer, and no more. Items are
in an order in which every envelope stands behind those it depends on; to read one twice is harmless.
"""

import enum
import hashlib
import struct
from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import msgspec

from meshnode.crdt.envelope import ENVELOPE_BYTES_MAX, unseal
from meshnode.kernel.decoding import decoded
from meshnode.model.errors import LocalError, RemoteError

DecodedT = TypeVar("DecodedT")
MAGIC = b"meshstk\n"
VERSION = 1
STICK_BYTES_MAX = 64 * 1024 * 1024
ITEMS_MAX = 500_000
ITEM_BYTES_MAX = ENVELOPE_BYTES_MAX + 12 * 1024  # a root has signatures of others beside it
NAME_BYTES_MAX = 512
_LENGTH = struct.Struct(">I")
_SUM_BYTES = 32
_HEADER_BYTES_MAX = 4 * 1024


class StickUnreadable(LocalError):
    """The file is no stick, or not a whole one, or of another mesh. Nothing of it was applied."""

    code = "stick-unreadable"


class ItemKind(enum.IntEnum):
    """What is carried. A kind that this version does not know is left out, and counted."""

    MEMBER = 1  # an admin's record about an author: without it nobody who never met him believes his envelopes
    ENVELOPE = 2
    ROOT = 3  # of a document whose history was summed up; before the envelopes that stand on it
    ROOT_PART = 4  # of a root that is too large for one item


class Item(msgspec.Struct, frozen=True, array_like=True):
    """One signed thing, as it travels between peers. ``kind``: of ``ItemKind``, or of a later version's."""

    kind: int
    data: bytes


class Label(msgspec.Struct, frozen=True, array_like=True):
    """Where a stick comes from, by its own word: shown to people, believed by nobody."""

    version: int
    mesh: str
    node: str
    at_ms: int
    items: int


class Stick(msgspec.Struct, frozen=True):
    """A whole one."""

    label: Label
    items: tuple[Item, ...]


_labels = msgspec.msgpack.Decoder(Label)
_items = msgspec.msgpack.Decoder(Item)


def write(mesh: str, node: str, at_ms: int, items: Sequence[Item]) -> bytes:
    """The file. Raises ``StickUnreadable`` when it would be one that nobody reads: too large."""
    label = msgspec.msgpack.encode(Label(VERSION, mesh, node, at_ms, len(items)))
    packed = [msgspec.msgpack.encode(item) for item in items]
    size = len(MAGIC) + len(label) + sum(map(len, packed)) + _LENGTH.size * (1 + len(packed)) + _SUM_BYTES
    if size > STICK_BYTES_MAX or len(items) > ITEMS_MAX:
        raise StickUnreadable(
            f"{len(items)} items of {size} bytes are more than a stick holds ({ITEMS_MAX}, {STICK_BYTES_MAX} bytes). "
            "Nothing was written",
            next_step="export fewer kinds: meshnode sync export FILE --kind KIND",
        )
    body = b"".join((MAGIC, _framed(label), *map(_framed, packed)))
    return body + hashlib.sha256(body).digest()


def read(data: bytes, mesh: str) -> Stick:
    """The stick of this mesh.

    Raises:
        StickUnreadable: what is wrong and what to do; nothing was applied.
    """
    if len(data) > STICK_BYTES_MAX:
        raise _unreadable(
            "size", f"it has {len(data)} bytes, a stick has at most {STICK_BYTES_MAX}", "export it in parts"
        )
    if not data.startswith(MAGIC):
        raise _unreadable("magic", "it does not begin like a stick", "name a file that meshnode sync export wrote")
    body, told = data[:-_SUM_BYTES], data[-_SUM_BYTES:]
    if len(body) < len(MAGIC) + _LENGTH.size or hashlib.sha256(body).digest() != told:
        raise _unreadable(
            "torn", "it is torn or damaged: its sum is wrong", "copy or export it again, then compare sha256sum"
        )
    try:
        stick = _read(body)
    except RemoteError as error:
        raise _unreadable(
            error.reason, f"it is no stick of this version: {error}", "export it with this version"
        ) from error
    if stick.label.mesh != mesh:
        raise _unreadable(
            "foreign",
            f"it is of mesh {_printable(stick.label.mesh)}, this node is of mesh {mesh}",
            "take it to a node of its mesh",
        )
    return stick


def in_pages(items: Iterable[Item], bytes_max: int) -> Iterator[tuple[Item, ...]]:
    """The items in order, in pages of at most so many bytes (a larger item has a page of its own)."""
    page: list[Item] = []
    room = bytes_max
    for item in items:
        if page and len(item.data) > room:
            yield tuple(page)
            page, room = [], bytes_max
        page.append(item)
        room -= len(item.data)
    if page:
        yield tuple(page)


def _read(body: bytes) -> Stick:
    at = len(MAGIC)
    header, at = _block(body, at, _HEADER_BYTES_MAX)
    label = _decoded(_labels, header)
    names_fit = max(len(label.mesh.encode()), len(label.node.encode())) <= NAME_BYTES_MAX
    if label.version != VERSION or not names_fit or not 0 <= label.items <= ITEMS_MAX:
        raise RemoteError("stick-header", f"version {label.version}, {label.items} items")
    items: list[Item] = []
    while at < len(body):
        packed, at = _block(body, at, ITEM_BYTES_MAX)
        if len(items) >= label.items:
            raise RemoteError("stick-items", f"more than the {label.items} it says")
        items.append(_judged(_decoded(_items, packed)))
    if len(items) != label.items:
        raise RemoteError("stick-items", f"{len(items)} of {label.items}")
    return Stick(label, tuple(items))


def _judged(item: Item) -> Item:
    """Frames of envelopes are read here once, so that a stick with junk among them is refused as a whole."""
    if item.kind == ItemKind.ENVELOPE:
        unseal(item.data)
    elif not 0 <= item.kind < 1 << 16:
        raise RemoteError("stick-item", f"kind {item.kind}")
    return item


def _block(body: bytes, at: int, bytes_max: int) -> tuple[bytes, int]:
    if at + _LENGTH.size > len(body):
        raise RemoteError("stick-short")
    (length,) = _LENGTH.unpack_from(body, at)
    at += _LENGTH.size
    if length > bytes_max or at + length > len(body):
        raise RemoteError("stick-length", f"{length} bytes at {at}")
    return body[at : at + length], at + length


def _decoded(decoder: msgspec.msgpack.Decoder[DecodedT], data: bytes) -> DecodedT:
    return decoded(decoder.decode, data, "stick-frame")


def _framed(data: bytes) -> bytes:
    return _LENGTH.pack(len(data)) + data


def _printable(text: str) -> str:
    return "".join(letter if letter.isprintable() else "?" for letter in text[:80])


def _unreadable(reason: str, why: str, next_step: str) -> StickUnreadable:
    message = f"the stick cannot be read: {why}. Nothing was applied"
    return StickUnreadable(message, next_step=next_step, details={"reason": reason})
