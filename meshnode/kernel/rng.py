"""The one name for luck: a machine draws only from the ``Random`` it was given."""

import hashlib
from random import Random

__all__ = ["Random", "fork"]


def fork(seed: bytes, label: str) -> Random:
    """An independent stream for one purpose, so that one machine's draws never shift another's.

    Args:
        seed: any bytes; equal seeds and labels give equal streams in every process.
        label: the purpose, e.g. ``"gossip"``.
    """
    return Random(int.from_bytes(hashlib.sha256(seed + b"\0" + label.encode()).digest()))
