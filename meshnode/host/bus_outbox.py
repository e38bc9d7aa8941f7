"""What waits to leave for one agent, bounded.

Calls have a bound of their own: they can be answered in the agent's name when they do not fit. What else waits (the
agent's state above all, whole once at its start) belongs to work that has begun, so it is given far more room, and an
agent that does not take it is not working.
"""

from collections import deque

from meshnode.wire.frame import Kind

CALLS_BYTES_MAX = 4 * 1024 * 1024
EVENTS_BYTES_MAX = 1024 * 1024  # of the same: whatever is published, calls find room
OTHERS_BYTES_MAX = 40 * 1024 * 1024  # an instance's 16 MiB once restored and once merged, with what goes around them
_PIECE_BYTES = 128  # what a waiting frame costs beside its bytes

# These may be dropped or answered when there is no room.
_DROPPABLE = frozenset((Kind.CALL, Kind.PING, Kind.PONG, Kind.EVENT))


class Outbox:
    """Encoded frames, in order."""

    def __init__(self) -> None:
        self._pieces: deque[tuple[bytes, bool]] = deque()
        self._calls_bytes = 0
        self._others_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._pieces)

    @property
    def waiting_bytes(self) -> int:
        """What all that waits costs in memory."""
        return self._calls_bytes + self._others_bytes

    def add(self, kind: Kind, data: bytes) -> bool:
        """False, and nothing is kept, if there is no room for it."""
        size = len(data) + _PIECE_BYTES
        droppable = kind in _DROPPABLE
        if droppable:
            if self._calls_bytes + size > (EVENTS_BYTES_MAX if kind is Kind.EVENT else CALLS_BYTES_MAX):
                return False
            self._calls_bytes += size
        else:
            if self._others_bytes + size > OTHERS_BYTES_MAX:
                return False
            self._others_bytes += size
        self._pieces.append((data, droppable))
        return True

    def take(self, bytes_max: int) -> bytes:
        """The next frames, joined: at least one, further ones as long as all stay within ``bytes_max``."""
        batch = [self._next()]
        size = len(batch[0])
        while self._pieces and size + len(self._pieces[0][0]) <= bytes_max:
            batch.append(self._next())
            size += len(batch[-1])
        return batch[0] if len(batch) == 1 else b"".join(batch)

    def _next(self) -> bytes:
        data, droppable = self._pieces.popleft()
        if droppable:
            self._calls_bytes -= len(data) + _PIECE_BYTES
        else:
            self._others_bytes -= len(data) + _PIECE_BYTES
        return data
