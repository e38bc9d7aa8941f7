"""Who is refused when a node has too much to do: what may wait first, what keeps the mesh together last.

Batch calls may fill half of what a node takes, of calls and of bytes, usual ones all of it. What daemons ask each
other has an eighth above that for itself: an overloaded mesh must still be able to look after itself.
"""

import enum

from meshnode.kernel.instant import MS
from meshnode.messaging.config import SwitchConfig
from meshnode.messaging.refusals import MESH_PREFIX
from meshnode.model.patience import SHED
from meshnode.wire.calls import CallHeader, ResultHeader

_PARTS = 8


class Class(enum.Enum):
    """How soon a call is refused. Its value: how many eighths of the bounds are open to it."""

    BATCH = 4
    USUAL = 8
    CONTROL = 9

    @property
    def word(self) -> str:
        return self.name.lower()


_LEAST = Class.BATCH.value


def room(config: SwitchConfig) -> tuple[int, int]:
    """Calls and bytes up to which there is room for whatever comes, also for what may wait: one is let in while there
    are fewer of the one, and with it no more of the other. Then no class need be looked for."""
    return -(-config.calls_max * _LEAST // _PARTS), config.held_bytes_max * _LEAST // _PARTS


def class_of(header: CallHeader) -> Class:
    if header.skill.startswith(MESH_PREFIX):
        return Class.CONTROL  # no agent may call these: see ``Switch``
    return Class.BATCH if header.batch else Class.USUAL


def share(class_: Class, bound: int) -> int:
    """How much of a bound is open to it; a small bound has no eighths, and always room for one."""
    return max(1, -(-bound * class_.value // _PARTS))


def retry_after_ms(class_: Class, filled: float, config: SwitchConfig) -> int:
    """``filled``: of its share. The further over it, and the better it can wait, the longer."""
    wait_us = config.retry_after_min_us * max(1.0, filled) * (2 if class_ is Class.BATCH else 1)
    return int(min(config.retry_after_max_us, wait_us)) // MS


def heard_ms(header: ResultHeader, config: SwitchConfig) -> int:
    """When somebody else who sheds has room again: in bounds whatever a peer or an agent says, the least wait if it
    says nothing of it."""
    if header.code != SHED:
        return 0
    return min(max(header.retry_after_ms, config.retry_after_min_us // MS), config.retry_after_max_us // MS)
