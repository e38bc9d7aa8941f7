"""The daemon as it ships, with an ear and a mouth for the harness: ``python -m bench.gossip.daemon --dir DIR ...``.

The ear says on stdout what this node learns of others, and when, in the turn in which it holds it:

    row NODE TOKEN AT    a directory row whose facts hold a token
    load NODE TOKEN AT   the soft fact ``load`` whose network figure is the token
    STATE NODE - AT      it takes the node for ready, suspect, unreachable, down or left: what is told to people is less

AT are seconds of CLOCK_MONOTONIC, which all processes of a machine share. The harness is one process beside fifty that
have just been given work: when it reads a line says how long it had to wait for a processor as well.

The mouth reads on stdin what the daemon's own hands would tell the core, at a moment the harness chooses:

    describe TOKEN       as the probe of the hardware does: a new directory row is signed and spread, a rumour
    load TOKEN           as the sampler of the load does: a soft fact; the sampler itself is not heard from then on
    meet HOST PORT       as mDNS does: somebody of the mesh seems to be there
"""

import asyncio
import json
import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace

from hw.vector import LAYOUT, LoadVector
from meshnode.daemon.main import run
from meshnode.daemon.wiring import AS_BUILT
from meshnode.gossip.messages import Described, Discovered, MemberChanged, SoftChanged
from meshnode.host.loop import CoreLoop
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.links.messages import Transmit
from meshnode.model.ids import NodeId
from meshnode.node.core import Core
from meshnode.node.inputs import HardwareProbed, Input, LoadSampled
from meshnode.registry.offers import LOAD_KEY

EAR, MOUTH = 1, 0
FACTS_BYTES = 64  # of a described row: what an event of the anchors carries
ORDER_BYTES_MAX = 4096
RECEIVED = 7  # of the fields of a load vector
STRIDE = 37


class Chosen(LoadSampled, frozen=True):
    """A load that the harness wants this node to have."""


class Overheard(Core):
    """The core, and what it has learned, in the turn in which it holds it; to the journal rows go later."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]  # as Core
        self._chosen = False
        self._states: list[str] = []  # learned in this turn: of a crowd each write would wake the harness beside it

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        if isinstance(event, LoadSampled):
            self._chosen = self._chosen or isinstance(event, Chosen)
            if self._chosen and not isinstance(event, Chosen):
                return []
        return self._told(super().handle(event, now))

    def wake(self, now: Instant) -> list[Effect]:
        return self._told(super().wake(now))

    def _told(self, effects: list[Effect]) -> list[Effect]:
        if self._states:
            os.write(EAR, "".join(self._states).encode())
            self._states.clear()
        return effects

    def _carry(self, effect: Effect, now: Instant) -> Sequence[Effect] | None:
        if isinstance(effect, Described):
            self._look(effect.node)
        elif isinstance(effect, SoftChanged) and effect.key == LOAD_KEY and effect.value:
            say("load", effect.node, str(LAYOUT.unpack(effect.value)[RECEIVED]))
        elif isinstance(effect, MemberChanged):
            self._states.append(_line(effect.state.value, effect.node, "-"))
        return super()._carry(effect, now)

    def _look(self, node: NodeId) -> None:
        row = self.gossip.row(node)
        if row is not None and row.facts.startswith(b'{"bench"'):
            say("row", node, row.facts.split(b'"')[3].decode().strip())


class Weighed(Overheard, ABC):
    """Hands on what it gives to its connections, a piece for each write and TLS record."""

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        return self._given(super().handle(event, now), now)

    def wake(self, now: Instant) -> list[Effect]:
        return self._given(super().wake(now), now)

    def _given(self, effects: list[Effect], now: Instant) -> list[Effect]:
        self.wrote([effect.data for effect in effects if isinstance(effect, Transmit)], now)
        return effects

    @abstractmethod
    def wrote(self, pieces: list[bytes], now: Instant) -> None:
        """All of one turn, none mostly."""


def serve(core: type[Core]) -> int:
    """Run the daemon with such a core. Returns its exit code."""
    return run(sys.argv[1:], replace(AS_BUILT, core=core, beside=listen))


def listen(loop: CoreLoop) -> None:
    """Read orders until nobody gives any more."""

    def read() -> None:
        data = os.read(MOUTH, ORDER_BYTES_MAX)
        if not data:
            asyncio.get_running_loop().remove_reader(MOUTH)
        for line in data.decode().splitlines():
            loop.tell(_input(line.split()))

    asyncio.get_running_loop().add_reader(MOUTH, read)


def _input(words: list[str]) -> Input:
    match words:
        case ["describe", token]:
            facts = json.dumps({"bench": token})
            padded = json.dumps({"bench": token + " " * max(0, FACTS_BYTES - len(facts))})
            return HardwareProbed(padded.encode())
        case ["load", token]:
            # Far from the one before: no dead band holds it back.
            busy = int(token) * STRIDE % 100
            return Chosen(LoadVector(cpu_percent=busy, received_kib_s=float(token)).pack())
        case ["meet", host, port]:
            return Discovered(host, int(port))
        case _:
            raise SystemExit(f"no order of this bench: {words}")


def say(what: str, node: NodeId, token: str) -> None:
    os.write(EAR, _line(what, node, token).encode())


def _line(what: str, node: NodeId, token: str) -> str:
    return f"{what} {node.hex()} {token} {time.monotonic()}\n"


if __name__ == "__main__":
    os._exit(serve(Overheard))
