"""Topics over ZeroMQ for processes that are no agents: an XPUB for those who only listen, an XSUB for those who only
publish. Opened with the ZeroMQ endpoint of the bus, beside it, as ``.pub`` and ``.sub``.

A message is three parts to those who listen, topic, publisher and JSON; two from those who publish, topic and JSON.
A subscription is a prefix, as ZeroMQ has it; the node asks the mesh for the filter around it.

Invariants: what somebody is too slow for is held back within bounds for a second; then all others get it, and what is
lost is counted. Files are open to this user alone, and whoever the kernel says is another one is not heard.
"""

import asyncio
import os
from collections import Counter, deque
from collections.abc import Callable
from pathlib import Path

import msgspec
import zmq

from meshnode.kernel.counters import Counters
from meshnode.kernel.decoding import JUNK
from meshnode.model.commands import PublishEvent
from meshnode.model.errors import RemoteError
from meshnode.node.inputs import CommandGiven, TopicsWanted
from meshnode.sdk.pump import Pump
from meshnode.wire.bus import Spread
from meshnode.wire.events import EVENT_BYTES_MAX, FILTERS_MAX, TOPIC_PREFIX, is_filter, payloads, read_event
from meshnode.wire.frame import Frame

DOOR = 0  # among the doors of the node: theirs are counted from 1
EVERYTHING = TOPIC_PREFIX + "*"
PREFIXES_MAX = 4096
PREFIX_BYTES_MAX = 160
HIGH_WATER = 1000  # messages for one listener, and from one publisher
WAITING_MAX = 4096
WAITING_BYTES_MAX = 4 * 1024 * 1024
STUCK_S = 1.0  # so long one slow listener holds up the others
RETRY_S = 0.02
MESSAGE_BYTES_MAX = EVENT_BYTES_MAX + 1024


class PubEndpoint:
    """``tell`` gives the core an input; ``path``: of the bus's socket, whose directory is private."""

    def __init__(self, path: Path, tell: Callable[[TopicsWanted | CommandGiven], None], counters: Counters) -> None:
        self._tell, self._counters = tell, counters
        self._loop = asyncio.get_running_loop()
        self._paths = path.with_suffix(".pub"), path.with_suffix(".sub")
        self._prefixes: Counter[bytes] = Counter()
        self._waiting: deque[tuple[bytes, bytes, bytes]] = deque()
        self._waiting_bytes = 0
        self._stuck_s: float | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
        self._pub = self._open(zmq.XPUB, self._paths[0])
        self._pub.setsockopt(zmq.XPUB_NODROP, 1)
        self._sub = self._open(zmq.XSUB, self._paths[1])
        self._sub.send(b"\x01")  # whatever they publish
        self._pumps = Pump(self._pub, self._flush, self._subscribed), Pump(self._sub, lambda: None, self._published)

    @property
    def names(self) -> tuple[str, str]:
        """What who listens, and who publishes, connects to."""
        return f"ipc://{self._paths[0]}", f"ipc://{self._paths[1]}"

    def spread(self, effect: Spread) -> None:
        """Events that somebody listens to, as far as the node knows; ZeroMQ compares the prefixes."""
        for frame in effect.frames:
            self._wait(frame)
        self._pumps[0].schedule()

    def close(self) -> None:
        if self._retry is not None:
            self._retry.cancel()
        for pump in self._pumps:
            pump.close()
        self._context.term()
        for path in self._paths:
            path.unlink(missing_ok=True)

    def _open(self, kind: int, path: Path) -> zmq.Socket[bytes]:
        path.unlink(missing_ok=True)  # of a daemon that was killed; the data directory's lock says that none runs now
        opened = self._context.socket(kind)
        for option, value in (
            (zmq.LINGER, 0), (zmq.SNDHWM, HIGH_WATER), (zmq.RCVHWM, HIGH_WATER), (zmq.MAXMSGSIZE, MESSAGE_BYTES_MAX),
        ):  # fmt: skip
            opened.setsockopt(option, value)
        opened.bind(f"ipc://{path}")
        path.chmod(0o600)
        return opened

    # Who listens

    def _subscribed(self) -> bool:
        """One subscription or its end; ZeroMQ tells only the first and the last of equal ones."""
        try:
            part = self._pub.recv(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        said = part.bytes
        if not self._is_ours(part) or not said or len(said) > PREFIX_BYTES_MAX:
            self._counters.add("event-topic")
            return True
        before = self._filters()
        if said[0]:
            self._prefixes[said[1:]] = 1
        else:
            self._prefixes.pop(said[1:], None)
        if self._filters() != before:
            self._tell(TopicsWanted(DOOR, self._filters()))
        return True

    def _filters(self) -> tuple[str, ...]:
        if len(self._prefixes) > PREFIXES_MAX:
            return (EVERYTHING,)
        found = dict.fromkeys(name for prefix in self._prefixes if (name := around(prefix)))
        return tuple(sorted(found)) if len(found) <= FILTERS_MAX else (EVERYTHING,)

    # What they hear

    def _wait(self, frame: Frame) -> None:
        try:
            header = read_event(frame)
        except RemoteError as error:
            self._counters.add(error.reason)
            return
        topic, publisher = header.topic.encode(), header.publisher.encode()
        for payload in payloads(header, frame):
            if len(self._waiting) >= WAITING_MAX or self._waiting_bytes + len(payload) > WAITING_BYTES_MAX:
                self._counters.add("event-dropped")
                continue
            self._waiting.append((topic, publisher, payload))
            self._waiting_bytes += len(payload)

    def _flush(self) -> None:
        while self._waiting:
            try:
                self._pub.send_multipart(self._waiting[0], zmq.NOBLOCK)
            except zmq.Again:
                self._stuck()
                return
            self._waiting_bytes -= len(self._waiting.popleft()[2])
        self._stuck_s = None

    def _stuck(self) -> None:
        """Somebody is slow. For a while all wait; then the others get what waits, and it alone loses that."""
        now_s = self._loop.time()
        self._stuck_s = self._stuck_s or now_s
        if now_s - self._stuck_s >= STUCK_S:
            self._counters.add("event-dropped", len(self._waiting))
            self._pub.setsockopt(zmq.XPUB_NODROP, 0)
            for message in self._waiting:
                self._pub.send_multipart(message, zmq.NOBLOCK)
            self._pub.setsockopt(zmq.XPUB_NODROP, 1)
            self._waiting.clear()
            self._waiting_bytes, self._stuck_s = 0, None
        elif self._retry is None:
            self._retry = self._loop.call_later(RETRY_S, self._try_again)

    def _try_again(self) -> None:
        self._retry = None
        self._pumps[0].schedule()

    # What they say

    def _published(self) -> bool:
        try:
            parts = self._sub.recv_multipart(zmq.NOBLOCK, copy=False)
        except zmq.Again:
            return False
        if not self._is_ours(parts[0]):
            self._counters.add("bus-foreign-user")
        elif len(parts) != 2:
            self._counters.add("bus-parts")
        else:
            self._publish(parts[0].bytes, parts[1].bytes)
        return True

    def _publish(self, topic: bytes, payload: bytes) -> None:
        try:
            data: object = msgspec.json.decode(payload)
            self._tell(CommandGiven(DOOR, PublishEvent(topic=topic.decode(), data=data)))
        except JUNK:
            self._counters.add("event-junk")

    def _is_ours(self, part: zmq.Frame) -> bool:
        """libzmq notes the credentials when it accepts a connection, if it was built so; else the mode of the file
        decides."""
        try:
            words = str(part.get("Peer-Address")).rsplit(":", 3)
        except (zmq.ZMQError, KeyError):
            return True
        return len(words) != 4 or not words[1].isdecimal() or int(words[1]) == os.geteuid()


def around(prefix: bytes) -> str:
    """The filter that lets through whatever begins so; "" = no topic does."""
    text = prefix.decode("utf-8", "replace")
    if TOPIC_PREFIX.startswith(text):
        return EVERYTHING
    name = text.rpartition("/")[0] + "/*"
    return name if is_filter(name) else ""
