"""The tickets of runs: what a process shows to prove that it is the run this node started.

Tickets are seen by agents, so they are a keyed hash: no number of them tells the next. They end in a fingerprint of the
order, by which a later daemon knows what a process it found was started with.
"""

import hashlib

import msgspec

from meshnode.agents.order import Order
from meshnode.kernel.rng import Random
from meshnode.model.ids import InstanceId

_MARK = "-"


class Tickets:
    """One key for each boot."""

    def __init__(self, rng: Random) -> None:
        self._key = rng.randbytes(32)

    def of(self, unit: InstanceId, run_no: int, order: Order) -> str:
        label = f"{unit}#{run_no}".encode()
        return hashlib.blake2b(label, key=self._key, digest_size=16).hexdigest() + _MARK + _fingerprint(order)


def of_another_order(ticket: str, order: Order) -> bool:
    """The ticket is of a run by another order. A ticket without a fingerprint is believed."""
    fingerprint = ticket.partition(_MARK)[2]
    return fingerprint not in ("", _fingerprint(order))


def _fingerprint(order: Order) -> str:
    data = msgspec.msgpack.encode(order, order="deterministic")
    return hashlib.blake2b(data, digest_size=6).hexdigest()
