"""What waits to leave for the daemon: short frames as they came, long ones in parts, if it takes them so, and in turns.

Invariants: frames that were sent together leave side by side; the frames of one call keep their order.
"""

from collections import deque
from collections.abc import Sequence

from meshnode.wire.frame import APART_BYTES, Frame, encode, pieces_of, size
from meshnode.wire.parts import BUS_PART_BYTES, KINDS, call_of
from meshnode.wire.rota import Piece, Rota


class Outgoing:
    """The frames of one link. ``in_parts``: its daemon puts PARTs together."""

    def __init__(self) -> None:
        self.in_parts = False
        self.waiting_bytes = 0
        self._groups: deque[tuple[list[bytes], int]] = deque()  # what was sent together, and its bytes
        self._rota = Rota(BUS_PART_BYTES)

    def __bool__(self) -> bool:
        return bool(self._groups or self._rota)

    @property
    def groups(self) -> int:
        """How much waits of what is not in parts: as it was sent, together or alone."""
        return len(self._groups)

    def add(self, frames: Sequence[Frame]) -> None:
        if len(frames) == 1:
            frame = frames[0]
            if len(frame.payload) < APART_BYTES and not self._rota:
                data = encode(frame)
                self._groups.append(([data], len(data)))
                self.waiting_bytes += len(data)
                return
            if self._lined(frame):
                self.waiting_bytes += size(frame)
                return
        if self._rota:  # what these say is the end of what their call has said before
            for piece in self._rota.drained(call_of(frames[-1].header)):
                self._group((piece[0],))
                self._left(piece)
        self._group(frames)

    def take(self, bytes_max: int) -> list[bytes]:
        """What leaves next: at least what was sent together, more of it within ``bytes_max``. Of what is long always a
        part, too, so that no flood of what is short holds it up."""
        batch: list[bytes] = []
        taken = 0
        while self._groups and (not batch or taken + self._groups[0][1] <= bytes_max):
            pieces, pieces_bytes = self._groups.popleft()
            batch += pieces
            taken += pieces_bytes
        self.waiting_bytes -= taken
        while self._rota:
            piece = self._rota.next()
            assert piece is not None, "what has begun may always go on"
            self._left(piece)
            batch += pieces_of(piece[0])
            taken += piece[1]
            if taken + BUS_PART_BYTES > bytes_max:
                break
        return batch

    def _group(self, frames: Sequence[Frame]) -> None:
        pieces = [piece for frame in frames for piece in pieces_of(frame)]
        pieces_bytes = sum(map(len, pieces))
        self._groups.append((pieces, pieces_bytes))
        self.waiting_bytes += pieces_bytes

    def _left(self, piece: Piece) -> None:
        if piece[2] is not None:
            self.waiting_bytes -= size(piece[2])

    def _lined(self, frame: Frame) -> bool:
        """It is long, or follows what is long in its call."""
        return (
            self.in_parts
            and (bool(self._rota) or size(frame) > BUS_PART_BYTES)
            and frame.kind in KINDS
            and self._rota.add(frame)
        )
