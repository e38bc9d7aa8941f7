"""Whose turn it is to send: calls with something long to say share a connection evenly, piece by piece.

Deficit round robin (Shreedhar and Varghese, 1995) over calls, in the variant that lets the last piece of a turn
overdraw: each call that waits sends ``TURN_BYTES`` a round, give or take a piece. One that waits alone sends larger
pieces, and owes nobody for them. All frames of a call stand in one line, in order, from its first long one on until the
line is empty.

Invariant: what has begun and is not whole at the other end stays within what the other end holds (see ``parts.py``).
"""

from collections import deque

from meshnode.wire import parts
from meshnode.wire.frame import Frame, size
from meshnode.wire.parts import call_of

TURN_PARTS = 2
TURN_BYTES = TURN_PARTS * parts.PART_BYTES
Piece = tuple[Frame, int, Frame | None, bytes]


class _Line:
    """Of one call. ``after``: so many short frames leave before it, since they are older."""

    __slots__ = ("after", "at", "frames", "key", "left", "number")

    def __init__(self, key: bytes, after: int, turn_bytes: int) -> None:
        self.key, self.after = key, after
        self.frames: deque[Frame] = deque()
        self.left = turn_bytes
        self.number = self.at = 0  # of the first frame: its number, and how much of it has left


class Rota:
    """Lines, and in which order they are served. ``part_bytes``: above this a frame is long, and of payload in each of
    its pieces, as long as there is more than one line.
    """

    def __init__(self, part_bytes: int = parts.PART_BYTES) -> None:
        self._part_bytes, self._turn_bytes = part_bytes, TURN_PARTS * part_bytes
        self._lines: dict[bytes, _Line] = {}
        self._ring: deque[_Line] = deque()
        self._frames = self._last = self._open = self._open_bytes = 0

    def __len__(self) -> int:
        """How many frames wait, wholly or in part."""
        return self._frames

    def add(self, frame: Frame, after: int = 0) -> bool:
        """False: it is short, and nothing of its call waits here."""
        key = call_of(frame.header)
        line = self._lines.get(key)
        if line is None:
            if not parts.fits(frame, self._part_bytes):
                return False
            line = self._lines[key] = _Line(key, after, self._turn_bytes)
            self._ring.append(line)
        line.frames.append(frame)
        self._frames += 1
        return True

    def next(self, passed: int = 0) -> Piece | None:
        """What leaves next, its bytes, the frame that ends with it (``None``: there is more of it), and its call.

        ``passed``: short frames that have left.
        """
        for _ in range(len(self._ring) + 1 if self._ring else 0):
            line = self._ring[0]
            if line.left <= 0:
                line.left += self._turn_bytes
            elif line.after <= passed and (line.at or self._may_begin(line.frames[0])):
                return self._piece(line)
            self._ring.rotate(-1)
        return None

    def drained(self, key: bytes) -> list[Piece]:
        """All that is left of a call, in order, whole but for a frame that has begun: it leaves before its turn."""
        left: list[Piece] = []
        while (line := self._lines.get(key)) is not None:
            if line.at:
                left.append(self._piece(line))
            else:
                frame = line.frames[0]
                left.append((frame, size(frame), frame, key))
                self._end_frame(line)
        return left

    def clear(self) -> None:
        self._lines.clear()
        self._ring.clear()
        self._frames = self._open = self._open_bytes = 0

    def _may_begin(self, frame: Frame) -> bool:
        if not parts.fits(frame, self._part_bytes):
            return True
        return self._open < parts.OPEN_MAX and self._open_bytes + len(frame.payload) <= parts.OPEN_BYTES_MAX

    def _piece(self, line: _Line) -> Piece:
        """A frame of which one piece would be all leaves as it is: nobody has to put it together."""
        frame, alone = line.frames[0], len(self._ring) == 1
        part_bytes = max(self._part_bytes, parts.ALONE_BYTES) if alone else self._part_bytes
        if not line.at and (len(frame.payload) <= part_bytes or not parts.fits(frame, self._part_bytes)):
            frame_bytes = size(frame)
            line.left = self._turn_bytes if alone else line.left - min(frame_bytes, self._turn_bytes)
            self._end_frame(line)
            return frame, frame_bytes, frame, line.key
        if not line.at:
            self._last = line.number = (self._last + 1) % 2**32
            self._open += 1
            self._open_bytes += len(frame.payload)
        piece = parts.part(frame, line.number, line.at, part_bytes)
        piece_bytes = size(piece)
        line.left = self._turn_bytes if alone else line.left - piece_bytes
        line.at += len(piece.payload)
        if line.at < len(frame.payload):
            return piece, piece_bytes, None, line.key
        self._open -= 1
        self._open_bytes -= len(frame.payload)
        self._end_frame(line)
        return piece, piece_bytes, frame, line.key

    def _end_frame(self, line: _Line) -> None:
        line.frames.popleft()
        line.at = 0
        self._frames -= 1
        if not line.frames:
            del self._lines[line.key]
            self._ring.remove(line)
