"""Events on one connection, both ways: outside of the session, never resent, held back by a credit of their own.

Invariants: what waits to leave is bounded, and what does not fit is dropped and counted; events never use up the credit
of calls; the credit is of this connection, and ends with it.
"""

from collections import deque

from meshnode.links.hello import Total, frame_of
from meshnode.model.errors import RemoteError
from meshnode.wire.events import count_in, count_told
from meshnode.wire.frame import Frame, Kind, size

WINDOW_BYTES = 2 * 1024 * 1024  # with that of data well below what a connection may have unsent
QUEUE_BYTES_MAX = 2 * 1024 * 1024
EVENTS_STREAM = 1  # of a CREDIT frame that is about events; data's is 0


class Gusts:
    """The events of one link."""

    def __init__(self) -> None:
        self._queue: deque[tuple[Frame, int]] = deque()
        self._queue_bytes = 0
        self._sent, self._limit = 0, WINDOW_BYTES
        self._under_way: deque[tuple[int, list[bytes]]] = deque()  # bytes sent until then, and headers; a turn each
        self._got, self._granted = 0, WINDOW_BYTES

    @property
    def waiting(self) -> int:
        """How many frames of events could not leave yet."""
        return len(self._queue)

    @property
    def events(self) -> int:
        """How many events those hold: several share a frame."""
        return sum(count_in(frame) for frame, _ in self._queue)

    @property
    def doubtful(self) -> int:
        """How many events have left and are not known to have arrived, if the connection ends now."""
        return sum(count_told(header) for _, headers in self._under_way for header in headers)

    def ended(self) -> list[tuple[str, int]]:
        """What to count when the connection is gone: what waited is lost, of what had left nobody can say."""
        return [(n, count) for n, count in (("event-dropped", self.events), ("event-in-doubt", self.doubtful)) if count]

    # Sending

    def offer(self, frame: Frame) -> bool:
        """False, and the event is lost, if there is no room for it."""
        frame_bytes = size(frame)
        if self._queue_bytes + frame_bytes > QUEUE_BYTES_MAX:
            return False
        self._queue.append((frame, frame_bytes))
        self._queue_bytes += frame_bytes
        return True

    def pump(self) -> list[Frame]:
        """What the peer has room for. The last one may overdraw."""
        out: list[Frame] = []
        while self._queue and self._sent < self._limit:
            frame, frame_bytes = self._queue.popleft()
            self._queue_bytes -= frame_bytes
            self._sent += frame_bytes
            out.append(frame)
        if out:
            self._under_way.append((self._sent, [frame.header for frame in out]))
        return out

    def let_go(self) -> deque[tuple[Frame, int]]:
        """What could not leave by this connection, and will not any more."""
        waiting, self._queue, self._queue_bytes = self._queue, deque(), 0
        return waiting

    def inherit(self, waiting: deque[tuple[Frame, int]]) -> None:
        """That of the connection which this one replaces; nothing was offered to this one yet."""
        self._queue.extend(waiting)
        self._queue_bytes += sum(frame_bytes for _, frame_bytes in waiting)

    def credited(self, total: int) -> None:
        """Raises ``RemoteError``: it gives more than it may, or takes back what it gave."""
        if not self._limit <= total <= self._sent + WINDOW_BYTES:
            raise RemoteError("event-credit", f"{total} with {self._sent} sent and {self._limit} allowed")
        self._limit = total
        while self._under_way and self._under_way[0][0] <= total - WINDOW_BYTES:
            self._under_way.popleft()

    # Receiving

    def took(self, frame: Frame) -> None:
        """Raises ``RemoteError``: it was not allowed any more."""
        if self._got >= self._granted:
            raise RemoteError("event-credit", f"an event beyond the {self._granted} bytes that were allowed")
        self._got += size(frame)

    def due(self) -> Frame | None:
        """Credit to be given now."""
        if self._granted - self._got > WINDOW_BYTES // 2:
            return None
        self._granted = self._got + WINDOW_BYTES
        return frame_of(Kind.CREDIT, Total(self._granted), EVENTS_STREAM)
