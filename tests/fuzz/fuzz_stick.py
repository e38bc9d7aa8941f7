"""Fuzz target: a file that somebody brings on a stick, and the items in it.

The first byte chooses where the bytes enter:

    0 the file as it is   1 what stands between magic and sum of a file whose sum is right
    2 items, each behind its length, given to a whole replica with its engine

Properties beside "no exception but a named refusal": what is accepted reads the same when written and read again, and a
replica that was given junk still writes, reads, carries and restarts from its journal. One replica takes many sticks.
"""

import hashlib
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from random import Random

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from meshnode.crdt import envelope, stick
from meshnode.crdt.document import Change
from meshnode.crdt.envelope import Envelope
from meshnode.crdt.messages import EnvelopesKept
from meshnode.crdt.replica import Documents, DocumentsConfig
from meshnode.crdt.stick import Item, ItemKind, StickUnreadable
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.records import Record
from meshnode.model.errors import RemoteError
from tests.fuzz.fuzz_envelope import ACTOR, DOC, HLC, NAMES, NODE, NOW, Key

CORPUS = Path(__file__).parent / "corpus" / "stick"
MESH = "fuzz.mesh"
ITEMS_A_TIME = 16
_LENGTH = struct.Struct(">H")


def one_input(data: bytes) -> None:
    where, rest = (data[0] % 3, data[1:]) if data else (0, b"")
    match where:
        case 0:
            _file(rest)
        case 1:
            _file(summed(stick.MAGIC + rest))
        case _:
            _items(rest)


def _file(data: bytes) -> None:
    try:
        read = stick.read(data, MESH)
    except StickUnreadable as error:
        raise RemoteError(str(error.details["reason"])) from error
    label = read.label
    again = stick.write(label.mesh, label.node, label.at_ms, read.items)
    assert stick.read(again, MESH) == read
    assert [item for page in stick.in_pages(read.items, 100) for item in page] == list(read.items)


def _items(data: bytes) -> None:
    key = Key()
    replica = _replica(key)
    items = [Item(ItemKind.ENVELOPE, piece) for piece in _pieces(data)]
    taken, change = replica.take_in(items, NOW)
    counted = len(taken.applied) + taken.held + taken.waits + sum(taken.refused.values())
    assert counted >= len(items)
    written = replica.put(*NAMES, {"v": 2}, NOW)
    again = _replica(key, *change.records, *written.records)
    assert (again.root(), again.get(*NAMES)) == (replica.root(), replica.get(*NAMES))
    for fact in (*change.effects, *written.effects):
        if isinstance(fact, EnvelopesKept):
            replica.handle(fact, NOW)
    assert replica.take_in(replica.carried().items, NOW)[0].refused == {}
    for reason in taken.refused:
        raise RemoteError(reason)


class Pocket:
    """One replica for many inputs, a second after each other."""

    def __init__(self) -> None:
        self._key, self._records, self._now = Key(), list[Record](), NOW
        self._replica = _replica(self._key)

    def tell(self, data: bytes) -> None:
        if not data or data[0] % 3 != 2:
            one_input(data)
            return
        self._now = Instant(self._now.mono_us + SECOND, self._now.wall_ms + 1000)
        items = [Item(ItemKind.ENVELOPE, piece) for piece in _pieces(data[1:])]
        taken, change = self._replica.take_in(items, self._now)
        assert len(taken.applied) + taken.held + taken.waits + sum(taken.refused.values()) >= len(items)
        self._keep(change)
        for reason in taken.refused:
            raise RemoteError(reason)

    def _keep(self, change: Change) -> None:
        self._records += change.records
        for fact in change.effects:
            if isinstance(fact, EnvelopesKept):
                self._replica.handle(fact, self._now)

    def end(self) -> None:
        self._keep(self._replica.put(*NAMES, {"v": 2}, self._now))
        again = _replica(self._key, *self._records)
        assert (again.root(), again.get(*NAMES)) == (self._replica.root(), self._replica.get(*NAMES))
        assert self._replica.take_in(self._replica.carried().items, self._now)[0].refused == {}


def _replica(key: Key, *restored: Record) -> Documents:
    return Documents(
        DocumentsConfig(), signer=key, verifier=key, authority=key, trust=key, boot=1, restored=restored, rng=Random(1)
    )


def _pieces(data: bytes) -> Iterator[bytes]:
    at = 0
    for _ in range(ITEMS_A_TIME):
        if at + _LENGTH.size > len(data):
            return
        (length,) = _LENGTH.unpack_from(data, at)
        at += _LENGTH.size
        yield data[at : at + length]
        at += length


def summed(body: bytes) -> bytes:
    return body + hashlib.sha256(body).digest()


def seeds() -> Iterator[tuple[str, bytes]]:
    """How the first files of the corpus were made: ``NAME, bytes``."""
    key = Key()
    good = _replica(key).put(*NAMES, {"v": 1}, NOW)
    sealed = good.records[0].body[8:]
    whole = stick.write(MESH, "alpha", 7, [Item(ItemKind.MEMBER, b"record"), Item(ItemKind.ENVELOPE, sealed)])
    junk = envelope.seal(Envelope(1, DOC, *NAMES, NODE, 1, 1, HLC, [ACTOR]), key)
    yield "empty", b""
    yield "whole", b"\0" + whole
    yield "torn", b"\0" + whole[:-7]
    yield "foreign", b"\0" + stick.write("other.mesh", "alpha", 7, [])
    yield "body", b"\1" + whole[len(stick.MAGIC) : -32]
    yield "later", b"\1" + stick.write(MESH, "alpha", 7, [Item(900, b"?")])[len(stick.MAGIC) : -32]
    yield "items", b"\2" + b"".join(_LENGTH.pack(len(each)) + each for each in (sealed, junk, sealed, b"junk"))


OPENS = Pocket

if __name__ == "__main__":
    from tests.fuzz.driver import main

    sys.exit(main("stick", one_input, CORPUS, OPENS))
