"""The steps of a heartbeat, as events of a fleet that plays them."""

import enum
from dataclasses import dataclass

from meshnode.sim.fleet.wires import Wire


class Step(enum.Enum):
    """Of a heartbeat."""

    DUE = "due"
    PING = "ping"
    PONG = "pong"


@dataclass(frozen=True, slots=True)
class Beat:
    """A step of one side of a wire: its turn to look, or what it sent arrives."""

    wire: Wire
    side: int
    step: Step
