"""Roots that are too large for one letter: in parts, each under the root's name, put together here.

Whoever is asked sends the first part, which says how many there are; the receiver asks for the others, a few at a time,
so a link carries no more of them than it was asked for. Parts of one neighbour are put together with parts of the same
one only: who lies about a part spoils his own. What is here when a link breaks is here when he links again.
"""

from collections.abc import Sequence

import msgspec

from meshnode.crdt.letters import PART_BYTES_MAX, PARTS_ASKED_MAX, RootPart, RootsWanted, WantedRow
from meshnode.crdt.root import ROOT_BYTES_MAX, hash_of
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId, NodeId

WHOLE_BYTES_MAX = 60 * 1024  # larger ones go in parts
PARTS_MAX = -(-ROOT_BYTES_MAX // PART_BYTES_MAX)
HEAPS_MAX = 16  # roots that are being put together; the one heard of longest ago gives way
HEAPS_OF_PEER_MAX = 4

Attests = list[tuple[bytes, bytes]]


class Heap(msgspec.Struct):
    """What is here of one root. ``asked``: parts that are on their way."""

    doc: DocId
    count: int
    attests: Attests
    parts: dict[int, bytes] = {}
    asked: dict[int, None] = {}


class Whole(msgspec.Struct, frozen=True):
    """A root with all its parts."""

    data: bytes
    attests: Attests


def part_of(doc: DocId, data: bytes, digest: bytes, number: int, attests: Sequence[tuple[bytes, bytes]]) -> RootPart:
    """``attests`` go with the first one."""
    at = number * PART_BYTES_MAX
    return RootPart(
        doc, digest, number, count_of(data), data[at : at + PART_BYTES_MAX], [] if number else list(attests)
    )  # fmt: skip


def count_of(data: bytes) -> int:
    return -(-len(data) // PART_BYTES_MAX)


class Heaps:
    """By neighbour and root, the one heard of longest ago first."""

    def __init__(self) -> None:
        self._heaps: dict[tuple[NodeId, bytes], Heap] = {}

    def __len__(self) -> int:
        return len(self._heaps)

    def add(self, peer: NodeId, part: RootPart) -> Whole | RootsWanted | None:
        """The root, once all of it is here; else what to ask for now. Raises ``RemoteError``: it is not what it says.

        A first part begins a root, and brings one that a broken link had stopped back to its feet.
        """
        _judge(part)
        place, first = (peer, part.root), part.number == 0
        heap = self._heaps.pop(place, None)
        if heap is None:
            if not first:
                return None  # given up meanwhile: the next comparison begins it anew
            heap = Heap(DocId(part.doc), part.count, part.attests)
        if (heap.doc, heap.count) != (part.doc, part.count):
            raise RemoteError("root-parts", "they do not agree about their root")
        if first:
            heap.asked.clear()
        heap.asked.pop(part.number, None)
        heap.parts[part.number] = part.data
        if len(heap.parts) == heap.count:
            return _whole(heap, part.root)
        self._heaps[place] = heap
        self._give_way(peer)
        return self._wanted(heap, part.root)

    def forget(self, doc: DocId) -> None:
        """The document began a generation: what is on its way is asked for again if it is still higher."""
        for place in [place for place, heap in self._heaps.items() if heap.doc == doc]:
            del self._heaps[place]

    def _give_way(self, peer: NodeId) -> None:
        mine = [place for place in self._heaps if place[0] == peer]
        if len(mine) > HEAPS_OF_PEER_MAX:
            del self._heaps[mine[0]]
        elif len(self._heaps) > HEAPS_MAX:
            del self._heaps[next(iter(self._heaps))]

    def _wanted(self, heap: Heap, digest: bytes) -> RootsWanted | None:
        if heap.asked:
            return None
        missing = [number for number in range(heap.count) if number not in heap.parts][:PARTS_ASKED_MAX]
        heap.asked.update(dict.fromkeys(missing))
        return RootsWanted([WantedRow(heap.doc, digest, missing)])


def _judge(part: RootPart) -> None:
    """Every part but the last one is full: so many parts are so many bytes, and no more."""
    is_last = part.number == part.count - 1
    fits = 0 < len(part.data) <= PART_BYTES_MAX and (is_last or len(part.data) == PART_BYTES_MAX)
    if not 2 <= part.count <= PARTS_MAX or not 0 <= part.number < part.count or not fits:
        raise RemoteError("root-parts", f"part {part.number} of {part.count} with {len(part.data)} bytes")


def _whole(heap: Heap, digest: bytes) -> Whole:
    data = b"".join(heap.parts[number] for number in range(heap.count))
    if hash_of(data) != digest:
        raise RemoteError("root-parts", "together they are another root than they say")
    return Whole(data, heap.attests)
