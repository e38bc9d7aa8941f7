"""Whose turn it is to send: calls with something long to say share a session evenly, piece by piece.

Deficit round robin (Shreedhar and Varghese, 1995) over calls, in the variant that lets the last piece of a turn
overdraw: each call that waits sends ``TURN_BYTES`` a round, give or take a piece. All frames of a call stand in one
line, in order, from its first long one on until the line is empty.

Invariant: what has begun and is not whole at the other end stays within what the other end holds (see ``parts.py``).
"""

from collections import deque

from meshnode.links import parts
from meshnode.links.parts import call_of
from meshnode.wire.frame import Frame, size

TURN_BYTES = 64 * 1024
Piece = tuple[Frame, int, int, bytes]


class _Line:
    """Of one call. ``after``: so many short frames of the session leave before it, since they are older."""

    __slots__ = ("after", "at", "frames", "key", "left", "number")

    def __init__(self, key: bytes, after: int) -> None:
        self.key, self.after = key, after
        self.frames: deque[tuple[Frame, int]] = deque()
        self.left = TURN_BYTES
        self.number = self.at = 0  # of the first frame: its number, and how much of it has left


class Rota:
    """Lines, and in which order they are served."""

    def __init__(self) -> None:
        self._lines: dict[bytes, _Line] = {}
        self._ring: deque[_Line] = deque()
        self._frames = self._last = self._open = self._open_bytes = 0

    def __len__(self) -> int:
        """How many frames wait, wholly or in part."""
        return self._frames

    def add(self, frame: Frame, frame_bytes: int, after: int) -> bool:
        """False: it is short, and nothing of its call waits here."""
        key = call_of(frame.header)
        line = self._lines.get(key)
        if line is None:
            if not parts.fits(frame):
                return False
            line = self._lines[key] = _Line(key, after)
            self._ring.append(line)
        line.frames.append((frame, frame_bytes))
        self._frames += 1
        return True

    def next(self, passed: int) -> Piece | None:
        """What leaves next, its bytes, those of the frame that ends with it (0: there is more of it), and its call.

        ``passed``: short frames of the session that have left.
        """
        for _ in range(len(self._ring) + 1 if self._ring else 0):
            line = self._ring[0]
            if line.left <= 0:
                line.left += TURN_BYTES
            elif line.after <= passed and (line.at or self._may_begin(line.frames[0][0])):
                return self._piece(line)
            self._ring.rotate(-1)
        return None

    def clear(self) -> None:
        self._lines.clear()
        self._ring.clear()
        self._frames = self._open = self._open_bytes = 0

    def _may_begin(self, frame: Frame) -> bool:
        if not parts.fits(frame):
            return True
        return self._open < parts.OPEN_MAX and self._open_bytes + len(frame.payload) <= parts.OPEN_BYTES_MAX

    def _piece(self, line: _Line) -> Piece:
        frame, frame_bytes = line.frames[0]
        if not parts.fits(frame):
            line.left -= min(frame_bytes, TURN_BYTES)
            self._end_frame(line)
            return frame, frame_bytes, frame_bytes, line.key
        if not line.at:
            self._last = line.number = (self._last + 1) % 2**32
            self._open += 1
            self._open_bytes += len(frame.payload)
        piece = parts.part(frame, line.number, line.at)
        piece_bytes = size(piece)
        line.left -= piece_bytes
        line.at += len(piece.payload)
        if line.at < len(frame.payload):
            return piece, piece_bytes, 0, line.key
        self._open -= 1
        self._open_bytes -= len(frame.payload)
        self._end_frame(line)
        return piece, piece_bytes, frame_bytes, line.key

    def _end_frame(self, line: _Line) -> None:
        line.frames.popleft()
        line.at = 0
        self._frames -= 1
        if not line.frames:
            del self._lines[line.key]
            self._ring.remove(line)
