"""The daemon as it ships, with a driver of events inside: ``python -m bench.talk.blowing --dir DIR ...``, orders on
stdin.

    {"what": "listen", "topic": "topic/bench"}           a door of the core listens, and only counts
    {"what": "heard"}                                    how many it got
    {"what": "stream", "bytes": 1024, "for_s": 1}        publish as fast as the link takes it, while there is one
    {"what": "some", "bytes": 1024, "count": 10}         publish so many now
    {"what": "wire"}                                     bytes written so far, by peer

An event passes everything from ``Topics.publish`` on: policy, plan, link, the other's policy and plan, up to the effect
for its host. One line of JSON a finished order.
"""

import asyncio
import json
import os
import sys
import time
from collections.abc import Callable, Sequence

from meshnode.daemon.main import run
from meshnode.daemon.wiring import AS_BUILT, Adapt
from meshnode.host.loop import CoreLoop
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.messaging.batches import gathered
from meshnode.node.core import Core
from meshnode.node.inputs import Input, LoadSampled
from meshnode.wire.bus import Spread
from meshnode.wire.events import events_in

MOUTH = 0
ORDER_BYTES_MAX = 4096
DOOR = 1 << 30  # above those of the API
TOPIC = "topic/bench"
BATCH = 256
WAITING_MAX = 48  # frames that wait for the link, which keeps 63 of 32 events; a batch makes eight
TICKS: list[Callable[[], object]] = []  # what brings the next turn


class Order(LoadSampled, frozen=True, kw_only=True):
    """An input of the harness; ``what`` "" = go on."""

    what: str = ""
    topic: str = TOPIC
    bytes: int = 0
    count: int = 0
    for_s: float = 0.0


class Blowing(Core):
    """The core, and events that are published as soon as the links have room."""

    _payload = b""
    _until = 0.0
    _sent = 0
    _heard = 0
    _before = (0, 0)
    _ticking = False

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        effects = super().handle(event, now)
        if self._until:
            effects += self._settle(self._blow(now), now)
        return effects

    def _take(self, event: Input, now: Instant) -> list[Effect]:
        if not isinstance(event, Order):
            return super()._take(event, now)
        self.rooms.touch(event)
        return self._settle(self._ordered(event, now), now)

    def _ordered(self, event: Order, now: Instant) -> Sequence[Effect]:
        match event.what:
            case "listen":
                say({"listening": True})
                return self.switch.listen(DOOR, (event.topic,), now)
            case "heard":
                say({"heard": self._heard})
            case "stream":
                self._payload, self._sent = payload_of(event.bytes), 0
                self._before = self._ends()
                self._until = time.perf_counter() + event.for_s
            case "some":
                return self._publish(event.topic, payload_of(event.bytes), event.count, now)
            case "wire":
                stats = [self.hub.stats(peer) for peer in self.hub.peers()]
                say({each.name: each.bytes_out for each in stats if each is not None})
            case _:
                self._ticking = False
        return ()

    def _carry(self, effect: Effect, now: Instant) -> Sequence[Effect] | None:
        if isinstance(effect, Spread) and DOOR in effect.doors:
            self._heard += sum(len(events_in(frame)) for frame in effect.frames)
            return ()
        return super()._carry(effect, now)

    def _blow(self, now: Instant) -> list[Effect]:
        if time.perf_counter() >= self._until:
            self._until = 0.0
            dropped, doubtful = (now - then for now, then in zip(self._ends(), self._before, strict=True))
            say({"count": self._sent, "dropped": dropped, "doubtful": doubtful})
            return []
        if not self.hub.peers() or any(self.hub.events_waiting(peer) > WAITING_MAX for peer in self.hub.peers()):
            return []  # whatever gives a link, or room again, is an input
        if not self._ticking:
            self._ticking = True
            TICKS[0]()
        self._sent += BATCH
        return self._publish(TOPIC, self._payload, BATCH, now)

    def _ends(self) -> tuple[int, int]:
        """Events that did not leave, as a link had no room for them or was missing; and those on one that broke."""
        counted = self.hub.counters
        return counted["event-dropped"] + self.switch.counters["event-unreached"], counted["event-in-doubt"]

    def _publish(self, topic: str, payload: bytes, count: int, now: Instant) -> list[Effect]:
        return gathered(self.switch.topics.publish_all(topic, f"node/{self.config.name}", [payload] * count, now))


def payload_of(size: int) -> bytes:
    return json.dumps("x" * (size - 2)).encode()


def say(told: dict[str, object] | dict[str, int]) -> None:
    print(json.dumps(told), flush=True)


def listen(loop: CoreLoop) -> None:
    """Read orders until nobody gives any more."""
    running = asyncio.get_running_loop()
    TICKS.append(lambda: running.call_soon(loop.tell, Order(vector=b"")))

    def read() -> None:
        data = os.read(MOUTH, ORDER_BYTES_MAX)
        if not data:
            running.remove_reader(MOUTH)
        for line in data.decode().splitlines():
            loop.tell(Order(vector=b"", **json.loads(line)))

    running.add_reader(MOUTH, read)


if __name__ == "__main__":
    status = run(sys.argv[1:], Adapt(ports=AS_BUILT.ports, disk=AS_BUILT.disk, core=Blowing, beside=listen))
    os._exit(status)
