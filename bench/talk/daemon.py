"""The daemon as it ships, with a driver inside: ``python -m bench.talk.daemon --dir DIR ...``, orders on stdin.

    {"what": "sequence", "node": HEX, "bytes": 128, "for_s": 1}               calls one after another
    {"what": "window", "node": HEX, "bytes": 128, "at_once": 64, "for_s": 1}  so many in flight

A call is ``mesh.ping`` with an argument of so many bytes: from this daemon's switch over its link to the other's,
judged there, answered, and back; no agent and no door has a part in it. One line of JSON a finished order.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Sequence

from bench.rows import quantile
from meshnode.daemon.main import run
from meshnode.daemon.wiring import AS_BUILT, Adapt
from meshnode.host.loop import CoreLoop
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.messaging.batches import gathered
from meshnode.messaging.messages import CallEnded
from meshnode.messaging.switch import PING_SKILL
from meshnode.model.ids import NodeId
from meshnode.node.core import Core
from meshnode.node.inputs import Input, LoadSampled
from meshnode.node.rooms import SWITCH
from meshnode.wire.calls import CallHeader

MOUTH = 0
ORDER_BYTES_MAX = 4096
TICKETS = 1 << 40  # above those of doors
DEADLINE_MS = 10_000
_ASKED = CallHeader(b"", PING_SKILL, DEADLINE_MS)


class Order(LoadSampled, frozen=True, kw_only=True):
    """An input of the harness."""

    node: NodeId
    bytes: int
    at_once: int
    for_s: float


class Run:
    """One order under way."""

    def __init__(self, order: Order) -> None:
        self.order = order
        self.payload = json.dumps({"x": "y" * max(0, order.bytes - len('{"x": ""}'))}).encode()
        self.began = time.perf_counter()
        self.asked: dict[int, float] = {}
        self.took: list[float] = []
        self.failed = 0

    def told(self) -> dict[str, object]:
        took_s = time.perf_counter() - self.began
        p50, p99 = (quantile(self.took, share) * 1e6 for share in (0.5, 0.99))
        count = len(self.took)
        return {"count": count, "per_s": count / took_s, "p50_us": p50, "p99_us": p99, "failed": self.failed}


class Talking(Core):
    """The core, and calls that begin as soon as others have ended: all of a turn together."""

    _run: Run | None = None
    _ticket = TICKETS
    _due = 0

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        effects = super().handle(event, now)
        if self._due:
            effects += self._settle(self._ask(now), now)
        return effects

    def _take(self, event: Input, now: Instant) -> list[Effect]:
        if not isinstance(event, Order):
            return super()._take(event, now)
        self._run, self._due = Run(event), event.at_once
        return []

    def _carry(self, effect: Effect, now: Instant) -> Sequence[Effect] | None:
        if not isinstance(effect, CallEnded) or effect.ticket < TICKETS:
            return super()._carry(effect, now)
        self._ended(effect)
        return []

    def _ask(self, now: Instant) -> list[Effect]:
        run, effects = self._run, list[Effect]()
        assert run is not None
        node, payload = run.order.node, run.payload
        for _ in range(self._due):
            self._ticket += 1
            run.asked[self._ticket] = time.perf_counter()
            effects += self.switch.ask(self._ticket, _ASKED, payload, now, node=node)
        self.rooms.sooner(SWITCH, self.switch.look_us)
        self._due = 0
        return gathered(effects)

    def _ended(self, ended: CallEnded) -> None:
        run = self._run
        assert run is not None
        now_s = time.perf_counter()
        run.took.append(now_s - run.asked.pop(ended.ticket))
        run.failed += bool(ended.code)
        if now_s - run.began < run.order.for_s:
            self._due += 1
        elif not run.asked and not self._due:
            print(json.dumps(run.told()), flush=True)
            self._run = None


def listen(loop: CoreLoop) -> None:
    """Read orders until nobody gives any more."""

    def read() -> None:
        data = os.read(MOUTH, ORDER_BYTES_MAX)
        if not data:
            asyncio.get_running_loop().remove_reader(MOUTH)
        for line in data.decode().splitlines():
            order = json.loads(line)
            loop.tell(
                Order(
                    vector=b"", node=NodeId(bytes.fromhex(order["node"])), bytes=order["bytes"],
                    at_once=order.get("at_once", 1), for_s=order["for_s"],
                )
            )  # fmt: skip

    asyncio.get_running_loop().add_reader(MOUTH, read)


if __name__ == "__main__":
    status = run(sys.argv[1:], Adapt(ports=AS_BUILT.ports, disk=AS_BUILT.disk, core=Talking, beside=listen))
    os._exit(status)
