"""What waits to leave for one agent, bounded.

Calls have a bound of their own: they can be answered in the agent's name when they do not fit. What else waits (the
agent's state above all, whole once at its start) belongs to work that has begun, so it is given far more room, and an
agent that does not take it is not working.

To an agent that puts PARTs together what is long leaves in parts, calls in turns, and what is short before it.
"""

from collections import deque

from meshnode.wire.frame import Frame, Kind, encode, size
from meshnode.wire.parts import BUS_PART_BYTES, KINDS
from meshnode.wire.rota import Rota

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
        self._rota = Rota(BUS_PART_BYTES)
        self._calls_bytes = 0
        self._others_bytes = 0

    def __bool__(self) -> bool:
        return bool(self._pieces or self._rota)

    @property
    def waiting_bytes(self) -> int:
        """What all that waits costs in memory."""
        return self._calls_bytes + self._others_bytes

    def add(self, kind: Kind, data: bytes) -> bool:
        """False, and nothing is kept, if there is no room for it."""
        if not self._has_room(kind, len(data)):
            return False
        self._pieces.append((data, kind in _DROPPABLE))
        self._account(len(data), droppable=kind in _DROPPABLE)
        return True

    def add_in_parts(self, frame: Frame) -> bool:
        """As ``add``, for an agent that takes long frames so. The frames of one call keep their order."""
        frame_bytes = size(frame)
        if not (self._rota or frame_bytes > BUS_PART_BYTES) or frame.kind not in KINDS:
            return self.add(frame.kind, encode(frame))
        if not self._has_room(frame.kind, frame_bytes):
            return False
        if not self._rota.add(frame):
            return self.add(frame.kind, encode(frame))
        self._account(frame_bytes, droppable=frame.kind in _DROPPABLE)
        return True

    def take(self, bytes_max: int) -> bytes:
        """The next frames, joined: at least one, further ones as long as all stay within ``bytes_max``. Of what is long
        always a part, too, so that no flood of what is short holds it up."""
        batch: list[bytes] = []
        taken = 0
        while self._pieces and (not batch or taken + len(self._pieces[0][0]) <= bytes_max):
            batch.append(self._next())
            taken += len(batch[-1])
        while self._rota:
            batch.append(self._next_part())
            taken += len(batch[-1])
            if taken + BUS_PART_BYTES > bytes_max:
                break
        return batch[0] if len(batch) == 1 else b"".join(batch)

    def _next(self) -> bytes:
        data, droppable = self._pieces.popleft()
        self._account(len(data), droppable=droppable, times=-1)
        return data

    def _next_part(self) -> bytes:
        piece = self._rota.next()
        assert piece is not None, "what has begun may always go on"
        if piece[2] is not None:
            self._account(size(piece[2]), droppable=piece[2].kind in _DROPPABLE, times=-1)
        return encode(piece[0])

    def _has_room(self, kind: Kind, data_bytes: int) -> bool:
        cost = data_bytes + _PIECE_BYTES
        if kind not in _DROPPABLE:
            return self._others_bytes + cost <= OTHERS_BYTES_MAX
        return self._calls_bytes + cost <= (EVENTS_BYTES_MAX if kind is Kind.EVENT else CALLS_BYTES_MAX)

    def _account(self, data_bytes: int, *, droppable: bool, times: int = 1) -> None:
        cost = times * (data_bytes + _PIECE_BYTES)
        if droppable:
            self._calls_bytes += cost
        else:
            self._others_bytes += cost
