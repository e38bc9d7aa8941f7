"""What documents rooms of two nodes say to each other on the STATE channel, and the one place where it is read.

    A -> B  root / B -> A  sums / A -> B  rows      which documents differ (kernel/repair.py)
    B -> A  clocks(documents that differ)           "this is what I hold of each"
    A -> B  clocks(asks), envelopes                 what A holds of those where B is ahead, and what B lacks
    B -> A  envelopes

A new envelope is sent without a question, with the names of all whom its sender gives it; what its receivers therefore
leave to each other they announce a moment later, with clocks that are *told*.

A question about thousands of documents is several letters, and only the answer to the last of them ends it: each end
makes its receiver compare again, so that an end for each letter would make six comparisons of one, and 36 of these.
Nothing in it is state of a dialogue: any message may be lost, repeated or answered by a node that restarted.
"""

from collections.abc import Iterable, Mapping, Sequence
from itertools import islice
from typing import TypeVar

import msgspec

from meshnode.crdt.change import ACTOR_BYTES
from meshnode.crdt.envelope import ENVELOPE_BYTES_MAX
from meshnode.crdt.history import Clock
from meshnode.kernel.decoding import decoded
from meshnode.kernel.repair import RepairRoot, RepairRows, RepairSums
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId

LETTER_BYTES_MAX = 64 * 1024
RECEIVED_BYTES_MAX = 256 * 1024  # rows of the repair dialogue are the longest
_OVERHEAD_BYTES = 64
_ITEM_BYTES = 5
_COUNT_BYTES = 16
_COUNTS_MAX = LETTER_BYTES_MAX // _COUNT_BYTES  # documents and actors together, or heads and holders
_ACTORS_MAX = 2048  # of one document in a letter; of those left out everything is sent
REST_MAX = 512
ROOTS_MAX = 256  # in one letter
ATTESTS_MAX = 4
HOLDER_BYTES = 8
TOLD_MAX = 64
TOLD_BYTES = 4  # of an id: who is mistaken for somebody else hears of a change a moment later
_TOLD_BYTES_MAX = TOLD_MAX * (TOLD_BYTES + 2)
PART_BYTES_MAX = 48 * 1024  # of a root that is larger than a letter
PARTS_ASKED_MAX = 4  # at a time
WANTED_MAX = 64

ItemT = TypeVar("ItemT")
DocClock = tuple[bytes, bytes, Clock]  # document, version (hash of its heads), changes of each actor


class Clocks(msgspec.Struct, frozen=True, array_like=True, tag="clocks"):
    """What the sender holds of these documents; the receiver gives what it has beyond.

    ``last``: the receiver does not ask back, so that two nodes that refuse each other's changes fall silent.
    """

    docs: list[DocClock]
    last: bool = False
    pins: dict[bytes, tuple[int, bytes]] = {}  # documents that were re-rooted: generation and root hash
    more: bool = False  # another letter of the same question follows
    part: bool = False  # of a question of several letters: the answer to the last one is given even if it is empty
    told: bool = False  # no question: the receiver asks for what it lacks, and keeps to itself what it has beyond


class Envelopes(msgspec.Struct, frozen=True, array_like=True, tag="envelopes"):
    """Sealed envelopes, each after those it stands on. ``eager``: new ones, to be passed on as they are.

    ``more``: another letter of the same answer follows; ``rest``: documents the answer had no room for; ask again.
    ``lazy``: their writer was content with memory; the receiver may take seconds to write them down too.
    ``told``: heads of the ids of those who hold them or are sent them by whom this letter is from.
    """

    items: list[bytes]
    eager: bool = False
    more: bool = False
    rest: list[bytes] = []
    lazy: bool = False
    told: list[bytes] = []


class RootItem(msgspec.Struct, frozen=True, array_like=True):
    """A root and who stands by it: (node, signature) pairs."""

    data: bytes
    attests: list[tuple[bytes, bytes]]


class Roots(msgspec.Struct, frozen=True, array_like=True, tag="roots"):
    """Roots of documents in a later generation than the receiver's."""

    items: list[RootItem]


class RootPart(msgspec.Struct, frozen=True, array_like=True, tag="part"):
    """One of ``count`` pieces of the root of this hash; the first one brings who stands by it."""

    doc: bytes
    root: bytes
    number: int
    count: int
    data: bytes
    attests: list[tuple[bytes, bytes]] = []


class WantedRow(msgspec.Struct, frozen=True, array_like=True):
    """Parts of a root that the sender lacks."""

    doc: bytes
    root: bytes
    parts: list[int]


class RootsWanted(msgspec.Struct, frozen=True, array_like=True, tag="wanted"):
    """The receiver sends these parts, if the root is still its own."""

    rows: list[WantedRow]


class FrozenRow(msgspec.Struct, frozen=True, array_like=True):
    """These nodes hold all of ``heads``. ``generation``, ``root``: in which these heads are."""

    doc: bytes
    generation: int
    root: bytes
    heads: list[bytes]
    holders: list[bytes]
    grave_ms: int = 0


class Frozen(msgspec.Struct, frozen=True, array_like=True, tag="frozen"):
    """Who holds what is to become a root: told on from neighbour to neighbour until all know of all."""

    rows: list[FrozenRow]


Letter = RepairRoot | RepairSums | RepairRows | Clocks | Envelopes | Roots | Frozen | RootPart | RootsWanted

_decoder = msgspec.msgpack.Decoder(Letter)


def encode(letter: Letter) -> bytes:
    return msgspec.msgpack.encode(letter)


def decode(body: bytes) -> Letter:
    """Raises ``RemoteError``."""
    if len(body) > RECEIVED_BYTES_MAX:
        raise RemoteError("state-letter-size", f"{len(body)} bytes")
    letter = decoded(_decoder.decode, body, "state-letter")
    _judge(letter)
    return letter


def _judge(letter: Letter) -> None:
    match letter:
        case Clocks(docs):
            wrong = sum(len(clock) + 1 for _, _, clock in docs) > _COUNTS_MAX
            wrong = wrong or any(len(doc) != 16 or len(version) > 32 for doc, version, _ in docs)
            wrong = wrong or any(len(actor) != ACTOR_BYTES for _, _, clock in docs for actor in clock)
            wrong = wrong or len(letter.pins) > len(docs)
            wrong = wrong or any(len(doc) != 16 or len(root) != 32 for doc, (_, root) in letter.pins.items())
        case Roots(items):
            wrong = len(items) > ROOTS_MAX or any(len(each.attests) > ATTESTS_MAX for each in items)
            wrong = wrong or any(len(node) > 32 or len(sig) > 64 for each in items for node, sig in each.attests)
        case RootPart(doc, root, _, _, data, attests):
            wrong = len(doc) != 16 or len(root) != 32 or len(data) > PART_BYTES_MAX or len(attests) > ATTESTS_MAX
            wrong = wrong or any(len(node) > 32 or len(sig) > 64 for node, sig in attests)
        case RootsWanted(rows):
            wrong = len(rows) > WANTED_MAX or any(len(row.parts) > PARTS_ASKED_MAX for row in rows)
            wrong = wrong or any(len(row.doc) != 16 or len(row.root) != 32 for row in rows)
        case Frozen(rows):
            wrong = sum(2 + len(row.heads) + len(row.holders) for row in rows) > _COUNTS_MAX
            wrong = wrong or any(len(row.doc) != 16 or len(row.root) not in (0, 32) for row in rows)
            wrong = wrong or any(len(head) != 32 for row in rows for head in row.heads)
            wrong = wrong or any(len(holder) != HOLDER_BYTES for row in rows for holder in row.holders)
        case Envelopes(items=items, rest=rest, told=told):
            wrong = len(items) > LETTER_BYTES_MAX // _OVERHEAD_BYTES or len(rest) > REST_MAX or len(told) > TOLD_MAX
            wrong = wrong or any(len(doc) != 16 for doc in rest) or any(len(head) != TOLD_BYTES for head in told)
        case RepairRoot(root):
            wrong = len(root) > 32
        case RepairSums(sums):
            wrong = len(sums) > 256
        case RepairRows(buckets, rows):
            wrong = len(buckets) > 256 or any(len(doc) != 16 or len(version) > 32 for doc, version in rows)
    if wrong:
        raise RemoteError("state-letter", "a count or an id of the wrong length")


def clock_letters(
    docs: Iterable[DocClock],
    letters_max: int,
    *,
    last: bool,
    pins: Mapping[bytes, tuple[int, bytes]],
    part: bool = False,
    more: bool = False,
    told: bool = False,
) -> list[Clocks]:
    """At most ``letters_max`` letters; documents beyond them wait for the next round.

    ``part``: of a question that others begin or end; ``more``: others end it.
    """
    rows: list[DocClock] = [(doc, version, dict(islice(clock.items(), _ACTORS_MAX))) for doc, version, clock in docs]
    batches: list[list[DocClock]] = _batches(
        rows, [40 + 60 * (doc in pins) + 23 * len(clock) for doc, _, clock in rows]
    )[:letters_max]
    if not batches and part and not more:
        batches.append([])
    part = part or len(batches) > 1
    return [
        Clocks(
            batch, last, {doc: pins[doc] for doc, _, _ in batch if doc in pins}, more or at < len(batches), part, told
        )
        for at, batch in enumerate(batches, 1)
    ]


def root_letters(items: Sequence[RootItem]) -> list[Roots]:
    batches = _batches(items, [len(each.data) + 110 * len(each.attests) + 10 for each in items])
    return [Roots(part) for batch in batches for part in _split(batch, ROOTS_MAX)]


def frozen_letters(rows: Sequence[FrozenRow]) -> list[Frozen]:
    sizes = [80 + 34 * len(row.heads) + _COUNT_BYTES * len(row.holders) for row in rows]
    return [Frozen(batch) for batch in _batches(rows, sizes)]


def _split(items: list[ItemT], length: int) -> list[list[ItemT]]:
    return [items[at : at + length] for at in range(0, len(items), length)]


def eager_letters(items: Sequence[bytes], *, lazily: bool = False, told: Sequence[bytes] = ()) -> list[Envelopes]:
    heads = list(told[:TOLD_MAX])
    batches = _batches(items, [len(item) for item in items])
    return [Envelopes(batch, eager=True, lazy=lazily, told=heads) for batch in batches]


def answer_letters(items: Sequence[bytes], rest: Sequence[DocId], question: Clocks) -> list[Envelopes]:
    """The answer to ``Clocks``: all but the last letter of the answer to its last letter say that more follows."""
    answers = [Envelopes(batch, more=True) for batch in _batches(items, [len(item) for item in items])]
    if rest or (not question.more and (answers or question.part)):
        answers.append(Envelopes([], more=question.more, rest=list(rest[:REST_MAX])))
    return answers


def _batches(items: Sequence[ItemT], sizes: Sequence[int]) -> list[list[ItemT]]:
    batches: list[list[ItemT]] = []
    room = 0
    for item, size in zip(items, sizes, strict=True):
        if size + _ITEM_BYTES > room:
            batches.append([])
            room = LETTER_BYTES_MAX - _OVERHEAD_BYTES - _TOLD_BYTES_MAX
        batches[-1].append(item)
        room -= size + _ITEM_BYTES
    return batches


assert ENVELOPE_BYTES_MAX + _ITEM_BYTES + _OVERHEAD_BYTES + _TOLD_BYTES_MAX <= LETTER_BYTES_MAX
