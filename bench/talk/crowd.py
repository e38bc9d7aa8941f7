"""Both sides of a thousand links: ``python -m bench.talk.crowd listen DIR COUNT`` and ``... dial PORT DIR...``.

The listener says ``{"port": N}``, and when COUNT links are up ``{"up_at": S}``. The dialler is as many nodes as it is
given directories, each with its own certificate, source address, transport and hub; it says ``{"ready": N}``, dials
when it is given a line, and says ``{"began_at": S}``. Times are on CLOCK_MONOTONIC. Both go when their stdin ends.
"""

import asyncio
import ipaddress
import json
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from bench.talk.ends import End, hub_config, serving
from meshnode.gossip.messages import DialFailed
from meshnode.host import keystore
from meshnode.host.listener import ListenerConfig
from meshnode.host.transport import Told, TransportConfig
from meshnode.kernel.effects import Effect
from meshnode.links.messages import LinkRejected, PeerUp
from meshnode.model.ids import NodeId

HOST = "127.0.0.1"
SOURCES = int(ipaddress.ip_address("127.8.0.1"))  # one each: a listener lets few of one source in at once
AT_ONCE = 64  # dials under way: more would overrun the kernel's backlog of 128, and wait a second for its next try


def say(**told: float) -> None:
    print(json.dumps(told), flush=True)


async def given() -> str:
    """The next line of stdin, empty at its end."""
    return await asyncio.to_thread(sys.stdin.readline)


async def listen(directory: Path, count: int) -> None:
    up = 0

    def hear(event: Told | Effect) -> None:
        nonlocal up
        if isinstance(event, PeerUp):
            up += 1
            if up == count:
                say(up_at=time.monotonic())

    identity = keystore.load(directory)
    end = End(identity, hub_config(identity), TransportConfig(listen=ListenerConfig(host=HOST)), hear)
    async with serving([end]):
        say(port=end.port)
        await given()


async def dial(port: int, directories: Sequence[Path]) -> None:
    crowd = Crowd(port, directories)
    async with serving(crowd.ends):
        say(ready=len(crowd.ends))
        await given()
        say(began_at=time.monotonic())
        crowd.begin()
        await given()


class Crowd:
    """Nodes that dial one listener, some at once. Who fails dials again, after those that have not tried."""

    def __init__(self, port: int, directories: Sequence[Path]) -> None:
        self._port = port
        self.ends = [self._end(number, directory) for number, directory in enumerate(directories)]
        self._waiting = list(reversed(range(len(self.ends))))
        self._dials = 0

    def begin(self) -> None:
        for _ in range(min(AT_ONCE, len(self._waiting))):
            self._next()

    def _end(self, number: int, directory: Path) -> End:
        identity = keystore.load(directory)
        config = TransportConfig(
            listen=ListenerConfig(closed=True), dial_from=str(ipaddress.ip_address(SOURCES + number))
        )
        return End(identity, hub_config(identity), config, self._hear(number))

    def _hear(self, number: int) -> Callable[[Told | Effect], None]:
        def hear(event: Told | Effect) -> None:
            if isinstance(event, DialFailed | LinkRejected):
                self._waiting.insert(0, number)
            if isinstance(event, DialFailed | LinkRejected | PeerUp):
                self._next()

        return hear

    def _next(self) -> None:
        if self._waiting:
            self._dials += 1
            self.ends[self._waiting.pop()].dial(self._dials, HOST, self._port, NodeId(b""))


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["listen", where, count]:
            asyncio.run(listen(Path(where), int(count)))
        case ["dial", port, *wheres]:
            asyncio.run(dial(int(port), [Path(where) for where in wheres]))
        case _:
            sys.exit(__doc__)
