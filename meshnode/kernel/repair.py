"""The one repair dialogue, serving directory, soft state and documents.

    A -> B  RepairRoot(root)                    8 bytes; silence means "equal"
    B -> A  RepairSums(bucket fingerprints)     sparse, at most 256
    A -> B  RepairRows(rows of differing buckets)
    B       knows what A lacks (push) and what B lacks (pull)

What a row is, how it is pushed and which of two versions wins is the room's business: a repair only finds differences.
"""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from meshnode.kernel.fingerprints import BUCKETS

ROWS_MAX = 4096  # per message; the next round finds the rest


class Index(Protocol):
    """What is compared: ``Fingerprints``, or several of them read as one."""

    def root(self) -> bytes: ...

    def sums(self) -> Mapping[int, int]: ...

    def bucket(self, number: int) -> Sequence[tuple[bytes, bytes]]: ...

    def version(self, key: bytes) -> bytes | None: ...


class RepairRoot(msgspec.Struct, frozen=True, array_like=True, tag="root"):
    root: bytes


class RepairSums(msgspec.Struct, frozen=True, array_like=True, tag="sums"):
    sums: dict[int, int]


class RepairRows(msgspec.Struct, frozen=True, array_like=True, tag="rows"):
    buckets: list[int]
    rows: list[tuple[bytes, bytes]]


RepairMessage = RepairRoot | RepairSums | RepairRows


class Difference(msgspec.Struct, frozen=True):
    """``push``: keys we hold that the peer lacks or holds in another version; ``pull``: the reverse."""

    push: tuple[bytes, ...]
    pull: tuple[bytes, ...]


def opening(index: Index) -> RepairRoot:
    return RepairRoot(index.root())


def answer(index: Index, message: RepairMessage) -> RepairMessage | Difference | None:
    """The next step of the dialogue: a message to send back, the difference found, or nothing (equal)."""
    match message:
        case RepairRoot(root):
            return None if root == index.root() else RepairSums(dict(index.sums()))
        case RepairSums(sums):
            return _rows_of_differing(index, sums)
        case RepairRows(buckets, rows):
            return _difference(index, buckets, rows)


def _rows_of_differing(index: Index, theirs: dict[int, int]) -> RepairRows | None:
    ours = index.sums()
    differing = sorted(n for n in {**ours, **theirs} if 0 <= n < BUCKETS and ours.get(n) != theirs.get(n))
    rows: list[tuple[bytes, bytes]] = []
    taken: list[int] = []
    for number in differing:
        bucket = index.bucket(number)
        if taken and len(rows) + len(bucket) > ROWS_MAX:
            break
        taken.append(number)
        rows.extend(bucket)
    return RepairRows(taken, rows) if taken else None


def _difference(index: Index, buckets: list[int], rows: list[tuple[bytes, bytes]]) -> Difference | None:
    theirs = dict(rows[:ROWS_MAX])
    pull = sorted(key for key, version in theirs.items() if index.version(key) != version)
    push: list[bytes] = []
    for number in sorted(n for n in set(buckets) if 0 <= n < BUCKETS):
        push.extend(key for key, version in index.bucket(number) if theirs.get(key) != version)
    return Difference(tuple(push), tuple(pull)) if push or pull else None
