"""Fencing marks: who may speak for a unit, and which change came from where."""

import msgspec

from meshnode.model.ids import NodeId


class Epoch(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One node's turn with one unit. Compared as a pair; ``counter`` is the highest seen + 1 when it begins."""

    counter: int
    node: NodeId


class Dot(msgspec.Struct, frozen=True, order=True, array_like=True):
    """One change: the ``version``-th of an epoch, from 1."""

    epoch: Epoch
    version: int


NO_EPOCH = Epoch(0, NodeId(b""))
