"""A real daemon that keeps all bytes of the tunnels it carries, in ``DIR/overheard``: for whoever wants to look."""

import os
import sys
from collections.abc import Sequence
from pathlib import Path

from meshnode.daemon.main import run
from meshnode.daemon.wiring import AS_BUILT, Adapt
from meshnode.host import pipes
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.kernel.records import Record
from meshnode.links.carriage import Carriage
from meshnode.model.ids import NodeId
from meshnode.node.config import NodeConfig, NodePorts
from meshnode.node.core import Core
from meshnode.wire.frame import Frame

KEPT = Path(sys.argv[sys.argv.index("--dir") + 1]) / "overheard"


class Overhearing(Carriage):
    """It carries as it should."""

    def carry(self, peer: NodeId, frame: Frame, now: Instant) -> list[Effect]:
        with KEPT.open("ab") as kept:
            kept.write(frame.payload)
        return super().carry(peer, frame, now)


class OverhearingSide(pipes.Side):
    """It writes as it should."""

    def write(self, data: memoryview) -> None:
        with KEPT.open("ab") as kept:
            kept.write(data)
        super().write(data)


class Curious(Core):
    """The core of a relay that overhears."""

    def __init__(self, config: NodeConfig, ports: NodePorts, restored: Sequence[Record], now: Instant) -> None:
        super().__init__(config, ports, restored, now)
        right = self.tunnels.carriage
        self.tunnels.carriage = Overhearing(
            right.config, right.ways, right.is_client, right.number, right.counters, right.secret
        )


if __name__ == "__main__":
    pipes.Side = OverhearingSide
    status = run(sys.argv[1:], Adapt(ports=AS_BUILT.ports, disk=AS_BUILT.disk, core=Curious))
    sys.stdout.flush()
    os._exit(status)
