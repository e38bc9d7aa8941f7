"""Fuzz target: roots of documents, as peers, sticks and the own journal bring them: whole, in parts, with their proofs.

The first byte chooses where the bytes enter:

    0 a root   1 the same, put into its one encoding first   2 parts of roots, one behind the other
    3 changes to an honest root, given to a whole replica   4 a journal record with a right sum
    5 proofs in an honest root

Property beside "no exception but RemoteError": what is accepted reads the same when read again, the engine takes its
layers, and a replica that refused something still writes and reads. One replica hears of many roots.
"""

import sys
from collections.abc import Sequence
from functools import cache
from pathlib import Path

import msgspec

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from meshnode.crdt import letters, root, shelf
from meshnode.crdt.encoding import Setting, packed, written
from meshnode.crdt.envelope import Envelope, actor_of, seal
from meshnode.crdt.letters import Envelopes, RootItem, RootPart, Roots
from meshnode.crdt.messages import EnvelopesKept
from meshnode.crdt.parts import Heaps
from meshnode.crdt.root import Root
from meshnode.crdt.store import AutomergeStore
from meshnode.kernel.effects import Channel, Effect, Persist, Reject
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.records import Record, RecordKind
from meshnode.links.messages import ControlReceived
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId, NodeId
from tests.fuzz.fuzz_envelope import DOC, KEY, NAMES, NODE, NOW, Key, _replica  # pyright: ignore[reportPrivateUsage]

CORPUS = Path(__file__).parent / "corpus" / "root"
PARTS_MAX = 64
_roots = msgspec.msgpack.Decoder(Root)
_parts = msgspec.msgpack.Decoder(list[RootPart])
_edits = msgspec.msgpack.Decoder(list[tuple[int, int]])
_proofs = msgspec.msgpack.Decoder(list[bytes])


def one_input(data: bytes) -> None:
    where, rest = (data[0] % 6, data[1:]) if data else (0, b"")
    match where:
        case 0:
            _judged(rest)
        case 1:
            _judged(msgspec.msgpack.encode(_decoded(_roots, rest)))
        case 2:
            _put_together(_decoded(_parts, rest))
        case 3:
            _through_a_replica(_decoded(_edits, rest))
        case 4:
            body = shelf._digest(rest) + rest  # pyright: ignore[reportPrivateUsage]
            rooted, shelved = shelf.restored_root(Record(RecordKind.ENVELOPE, DOC, body), {})
            assert shelved.root in (rooted.data, rooted.hash)
        case _:
            _judged(msgspec.msgpack.encode(msgspec.structs.replace(honest(), proofs=_decoded(_proofs, rest)[:64])))


def _decoded(decoder: msgspec.msgpack.Decoder, data: bytes):  # noqa: ANN202 # pyright: ignore
    try:
        return decoder.decode(data)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        raise RemoteError("junk") from error


def _judged(data: bytes) -> None:
    rooted = root.read(data)
    assert root.read(rooted.data) == rooted
    assert root.rooted(rooted.root).pin == rooted.pin
    store = AutomergeStore()
    store.adopt(rooted)
    assert store.pin(DocId(rooted.root.doc)) == rooted.pin
    root.judge_proofs(rooted.root)


def _put_together(parts: list[RootPart]) -> None:
    heaps = Heaps()
    for number, each in enumerate(parts[:PARTS_MAX]):
        part = letters.decode(letters.encode(each))
        assert part == each
        heaps.add(NodeId(bytes((number % 3,)) * 32), each)


def _through_a_replica(edits: list[tuple[int, int]]) -> None:
    """Bytes of an honest root are others: wherever that leads, the replica goes on."""
    replica = _replica(Key(), ())
    effects = replica.handle(ControlReceived(NODE, Channel.STATE, _edited(edits)), NOW)
    replica.put(*NAMES, {"v": 2}, NOW)
    document = replica.get(*NAMES)
    assert document is not None and document.fields["v"] == 2
    for effect in effects:
        if isinstance(effect, Reject):
            raise RemoteError(effect.reason)


def _edited(edits: list[tuple[int, int]]) -> bytes:
    data = bytearray(_honest_data())
    for at, by in edits[:16]:
        data[at % len(data)] ^= by & 0xFF
    return letters.encode(Roots([RootItem(bytes(data), [(NODE, Key().sign("root/v1", b""))])]))


class Heirs:
    """One replica for many inputs: of the roots of its document the highest wins."""

    def __init__(self) -> None:
        self._replica, self._now = _replica(Key(), ()), NOW

    def tell(self, data: bytes) -> None:
        if not data or data[0] % 6 != 3:
            one_input(data)
            return
        self._now = Instant(self._now.mono_us + SECOND, self._now.wall_ms + 1000)
        said = _edited(_decoded(_edits, data[1:]))
        self._take(self._replica.handle(ControlReceived(NODE, Channel.STATE, said), self._now))

    def _take(self, effects: Sequence[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Reject):
                raise RemoteError(effect.reason)
            for fact in effect.then if isinstance(effect, Persist) else ():
                if isinstance(fact, EnvelopesKept):
                    self._take(self._replica.handle(fact, self._now))

    def end(self) -> None:
        self._replica.put(*NAMES, {"v": 2}, self._now)
        document = self._replica.get(*NAMES)
        assert document is not None and document.fields["v"] == 2


@cache
def _honest_data() -> bytes:
    return root.rooted(honest()).data


@cache
def honest() -> Root:
    """Of three writes by the member whom the fuzzed replica knows."""
    store_of = _replica(Key(), ())
    actor, deps, start = actor_of(KEY, DOC, 1), (), 1
    sealed: list[bytes] = []
    for number in range(3):
        hlc = 7 + number
        settings = [Setting("updated_hlc", str(hlc)), Setting(f"v{number}", f'"{number}"')]
        made = written(actor, number + 1, start, deps, settings)
        sealed.append(seal(Envelope(1, DOC, *NAMES, NODE, 1, number + 1, hlc, [packed(made)]), Key()))
        deps, start = (made.hash,), made.max_op + 1
    said = letters.encode(Envelopes(sealed, eager=True))
    store_of.handle(ControlReceived(NODE, Channel.STATE, said), NOW)
    store = store_of._store  # pyright: ignore[reportPrivateUsage]
    return store.fold(DOC, store.heads(DOC)).root


OPENS = Heirs

if __name__ == "__main__":
    from tests.fuzz.driver import main

    sys.exit(main("root", one_input, CORPUS, OPENS))
