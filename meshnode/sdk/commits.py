"""Makes changes true: applies them, tells the daemon, and remembers what it has not confirmed.

A STATE and the RESULT of the call that caused it leave together. What the daemon has not declared KEPT is sent again,
in order, to a daemon that comes back.
"""

import asyncio
from collections import deque
from collections.abc import Callable

import msgspec

from meshnode.sdk.cells import Cells
from meshnode.sdk.errors import StateError
from meshnode.wire.frame import FRAME_BYTES_MAX, HEADER_BYTES_MAX, Frame, Kind, size
from meshnode.wire.state import Change, KeptHeader, MergedCell, MergedHeader, StateHeader, decode_changes

# With more than this unconfirmed, calls that may change the state are refused.
UNKEPT_MAX = 4096
UNKEPT_BYTES_MAX = 32 * 1024 * 1024
CHANGES_BYTES_MAX = FRAME_BYTES_MAX - HEADER_BYTES_MAX - 64

_encode = msgspec.msgpack.Encoder().encode


class Commits:
    """``send`` takes frames that leave together; it drops them while there is no daemon. ``room`` is set while what is
    unconfirmed is within its bounds."""

    def __init__(self, cells: Cells, send: Callable[..., object]) -> None:
        self._cells, self._send = cells, send
        self._unkept: deque[tuple[int, tuple[Frame, ...], Callable[[int], None] | None]] = deque()
        self._unkept_bytes = 0
        self._seq = 0
        self.merge_no = 0
        self.room = asyncio.Event()
        self.room.set()

    def commit(
        self,
        changes: list[Change],
        *,
        call_id: bytes = b"",
        key: str = "",
        result: Frame | None = None,
        on_kept: Callable[[int], None] | None = None,
    ) -> None:
        """``on_kept`` is told the version once the daemon has kept it. Raises ``StateError`` and changes nothing."""
        payload = _encode(changes)
        if len(payload) > CHANGES_BYTES_MAX:
            words = f"the changes of one call have {len(payload)} bytes, the limit is {CHANGES_BYTES_MAX}"
            raise StateError("state-value-too-big", words)
        self._cells.apply(changes)
        self._seq += 1
        header = StateHeader(call_id, self._seq, self.merge_no, key)
        state = Frame(Kind.STATE, header=_encode(header), payload=payload)
        self._keep((state,) if result is None else (state, result), on_kept)

    def stand_upon(self, cells: list[MergedCell], seq: int) -> None:
        """``cells`` were just taken over from a daemon that had read no more than the commit ``seq``: what was written
        since is on its way to it, and goes on top of them. Below 0: an older daemon, which does not tell."""
        keys = {cell.key for cell in cells}
        for number, frames, _ in self._unkept:
            if 0 <= seq < number:
                self._cells.apply(change for change in decode_changes(frames[0].payload) if change.key in keys)

    def merged(self, merge_no: int, changes: list[Change]) -> None:
        """The answer to a MERGE that has been applied, with what the merge functions decided."""
        self._cells.apply(changes)
        self.merge_no = merge_no
        self._seq += 1
        header = _encode(MergedHeader(merge_no, self._seq))
        self._keep((Frame(Kind.MERGED, header=header, payload=_encode(changes)),), None)

    def kept(self, header: KeptHeader) -> None:
        while self._unkept and self._unkept[0][0] <= header.seq:
            _, frames, on_kept = self._unkept.popleft()
            self._unkept_bytes -= sum(map(size, frames))
            if on_kept is not None:
                on_kept(header.version)
        self._look_for_room()

    def resend(self) -> None:
        """To a daemon that has come back."""
        for _, frames, _ in self._unkept:
            self._send(*frames)

    def _keep(self, frames: tuple[Frame, ...], on_kept: Callable[[int], None] | None) -> None:
        self._unkept.append((self._seq, frames, on_kept))
        self._unkept_bytes += sum(map(size, frames))
        self._look_for_room()
        self._send(*frames)

    def _look_for_room(self) -> None:
        if len(self._unkept) < UNKEPT_MAX and self._unkept_bytes < UNKEPT_BYTES_MAX:
            self.room.set()
        else:
            self.room.clear()
