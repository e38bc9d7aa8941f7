"""Which slot a session belongs to: the same on every node, and for most sessions the same when slots are added.

Source: Lamping and Veach, "A Fast, Minimal Memory, Consistent Hash Algorithm" (2014); rendezvous hashing after Thaler
and Ravishankar (1998).
"""

import hashlib
from collections.abc import Iterable

_MULTIPLIER = 2862933555777941757
_MASK = 2**64 - 1


def slot_of_session(session: str, slots: int) -> int:
    """A slot from 0 to ``slots`` - 1."""
    if slots <= 1:
        return 0
    key = _hash(session)
    slot, jump = -1, 0
    while jump < slots:
        slot = jump
        key = (key * _MULTIPLIER + 1) & _MASK
        jump = int((slot + 1) * ((1 << 31) / ((key >> 33) + 1)))
    return slot


def by_rendezvous(session: str, names: Iterable[str]) -> list[str]:
    """The names in the order in which this session goes to them."""
    return sorted(names, key=lambda name: (_hash(f"{session}\x00{name}"), name))


def _hash(text: str) -> int:
    return int.from_bytes(hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest())
