"""One signature for several envelopes: a hash tree over their bodies, whose root is signed.

    leaf = SHA-256(0 | body)    node = SHA-256(1 | left | right)    a missing leaf is 32 zero bytes

Each envelope takes the way from its leaf to the root along (the hash beside it on each level), so that it can be judged
without the others, by whoever it reaches later. A body that is not the one signed comes to another root: it spoils its
own envelope and no other. Leaves and nodes are hashed apart, so no node passes for a body (RFC 6962, section 2.1).
"""

import hashlib
from collections.abc import Sequence

BATCH_MAX = 16  # from there on the way costs more than the sixteenth part of a signature that a longer one would save
DEPTH_MAX = 8  # of what is read: later releases may sign more at once
NODE_BYTES = 32
_LEAF, _NODE = b"\0", b"\1"
_MISSING = bytes(NODE_BYTES)


def ways(bodies: Sequence[bytes]) -> tuple[bytes, list[bytes]]:
    """The root over two bodies or more, and for each body the hashes beside its way to it, lowest first."""
    assert len(bodies) > 1
    level = [hashlib.sha256(_LEAF + body).digest() for body in bodies]
    found = [b""] * len(bodies)
    height = 0
    while len(level) > 1:
        if len(level) % 2:
            level.append(_MISSING)
        for number in range(len(bodies)):
            found[number] += level[number >> height ^ 1]
        level = [_joined(level[at], level[at + 1]) for at in range(0, len(level), 2)]
        height += 1
    return level[0], found


def root_of(body: bytes, place: int, way: bytes) -> bytes:
    """The root that a body at this place of a batch comes to."""
    found = hashlib.sha256(_LEAF + body).digest()
    for at in range(0, len(way), NODE_BYTES):
        beside = way[at : at + NODE_BYTES]
        found = hashlib.sha256(_NODE + beside + found if place & 1 else _NODE + found + beside).digest()
        place >>= 1
    return found


def is_way(place: int, way: bytes) -> bool:
    """Whether these could be a place and a way: one spelling for each."""
    depth, left = divmod(len(way), NODE_BYTES)
    return not left and 0 < depth <= DEPTH_MAX and 0 <= place < 1 << depth


def _joined(left: bytes, right: bytes) -> bytes:
    return hashlib.sha256(_NODE + left + right).digest()
