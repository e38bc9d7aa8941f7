"""What outlives a broken connection between two processes: sequence, sender log, acknowledgement, dedup, credit.

Sequenced frames are numbered by counting, not by a field: a connection keeps order, so both ends count alike. A link
starts counting where its receiver said in HELLO or WELCOME that it stands; the sender sends everything after that
again. Frames that arrived over the older link in the meantime are then counted a second time and dropped: exactly once,
in order, without a byte of overhead per frame. While a HELLO is under way they are not acknowledged: the receiver of
the acknowledgement would have dropped from its log what that HELLO asks for.

Invariant: ``log`` holds the frames numbered ``_log_first .. _next - 1``, and the peer acknowledged all before.
"""

from collections import deque

from meshnode.kernel.instant import Instant
from meshnode.kernel.machine import earliest
from meshnode.links.config import HubConfig
from meshnode.links.hello import Hello, Total, frame_of
from meshnode.links.parts import FEATURE as PARTS
from meshnode.links.parts import LONG_BYTES, Assembly, call_of
from meshnode.links.rota import Rota
from meshnode.model.errors import RemoteError
from meshnode.wire.frame import Frame, Kind, size

ACK_FRAMES = 256  # more than this unacknowledged are acknowledged without waiting: the sender's log is bounded
ACK_BYTES = 64 * 1024
SHORT_BYTES = 128 * 1024  # of short frames leave before what is long has its next piece
Sized = tuple[Frame, int]  # with its bytes on the wire


class Session:
    """The two directions between two processes. Knows no link: frames to send come out, frames received go in."""

    def __init__(self, session_id: bytes, config: HubConfig) -> None:
        self.id = session_id
        self.attached = 0  # links it has had
        self.peer_run = b""  # unknown until the first WELCOME
        self._config = config
        # sending
        self._log: deque[Sized] = deque()
        self._log_first = 1
        self._log_bytes = 0
        self._control: deque[Sized] = deque()
        self._patient: deque[Sized] = deque()  # control, too, that waits for something to ride on
        self._patient_due_us: int | None = None
        self._data: deque[Sized] = deque()  # short frames, as they came
        self._rota = Rota()  # long ones, and what follows them in their calls
        self._in_parts = False  # the peer puts parts together
        self._short_sent = self._short_run = 0  # frames; bytes since the last piece of a long one
        self.calls: dict[bytes, int] = {}  # frames of calls with something long, or by a lane of all, not acknowledged
        self._ends: deque[tuple[int, bytes]] = deque()  # the numbers of those that have left, and their calls
        self._control_bytes = self._queue_bytes = 0  # waiting: control, and calls
        self._data_sent = 0
        self._data_limit = 0
        # receiving
        self.received = 0
        self.assembly = Assembly()
        self._told = 0
        self._data_got = 0
        self._data_granted = config.window_bytes
        self._unacked_bytes = 0
        self.muted = False  # a HELLO is under way that says how much was received: nothing later is acknowledged
        self._ack_due_us: int | None = None

    # -- a link comes ---------------------------------------------------------------------------------------------

    def standing(self) -> tuple[int, int, int]:
        """``attached``, ``received`` and ``data_got`` for HELLO or WELCOME; what they grant is promised from now on."""
        self._data_granted = self._data_got + self._config.window_bytes
        return self.attached, self.received, self._data_got

    def attach(self, theirs: Hello, attached: int) -> list[Frame]:
        """The peer's HELLO or WELCOME was accepted: what it has not received, to be sent again."""
        if not self._log_first - 1 <= theirs.received < self._next:
            raise RemoteError("resume-range", f"{theirs.received} of {self._log_first - 1}..{self._next - 1}")
        if theirs.data_got > self._data_sent:
            raise RemoteError("resume-range", f"{theirs.data_got} of {self._data_sent} data bytes")
        self.attached, self.muted = attached, False
        self.peer_run = theirs.run_id
        self._in_parts = PARTS in theirs.features
        self._forget_until(theirs.received)
        self._data_limit = max(self._data_limit, theirs.data_got + theirs.window)
        return [frame for frame, _ in self._log]

    def abandon(self) -> int:
        """It will not go on. How many of its frames may never have arrived."""
        queues = (self._log, self._patient, self._control, self._data)
        lost = sum(map(len, queues)) + len(self._rota)
        for queue in queues:
            queue.clear()
        self._rota.clear()
        self._ends.clear()
        self.calls.clear()
        self.assembly = Assembly()
        self._patient_due_us = None
        self._control_bytes = self._queue_bytes = self._log_bytes = 0
        return lost

    # -- questions ------------------------------------------------------------------------------------------------

    @property
    def is_empty(self) -> bool:
        """Nothing waits to leave or to be acknowledged."""
        return not (self._log or self._data or self._rota or self._control or self._patient)

    @property
    def moved(self) -> tuple[int, int]:
        """How many frames went out and came in."""
        return self._next, self.received

    def holds(self, call: bytes) -> bool:
        """Something of that call is not acknowledged yet."""
        if call in self.calls:
            return True
        return any(call_of(frame.header) == call for frames in (self._data, self._log) for frame, _ in frames)

    # -- sending --------------------------------------------------------------------------------------------------

    @property
    def _next(self) -> int:
        return self._log_first + len(self._log)

    def offer(self, frame: Frame) -> bool:
        """Queue one frame; False if the queue is full and the frame is dropped."""
        frame_bytes = size(frame)
        if frame.kind is Kind.CONTROL:
            return self._offer_control(frame, frame_bytes, self._control)
        if self._queue_bytes + frame_bytes > self._config.data_queue_bytes_max:
            return False
        self._queue_bytes += frame_bytes
        if self._in_parts and (frame_bytes > LONG_BYTES or self._rota) and self._long(frame, frame_bytes):
            self._count(frame)
        else:
            self._data.append((frame, frame_bytes))
            if self._config.lane:
                self._count(frame)
        return True

    def _offer_control(self, frame: Frame, frame_bytes: int, queue: deque[Sized]) -> bool:
        if self._control_bytes + frame_bytes > self._config.queue_bytes_max:
            return False
        self._control_bytes += frame_bytes
        queue.append((frame, frame_bytes))
        return True

    def _long(self, frame: Frame, frame_bytes: int) -> bool:
        return self._rota.add(frame, frame_bytes, self._short_sent + len(self._data))

    def _count(self, frame: Frame) -> None:
        call = call_of(frame.header)
        self.calls[call] = self.calls.get(call, 0) + 1

    def offer_patiently(self, frame: Frame, now: Instant) -> bool:
        """As ``offer``, for a control frame that may leave with the next thing written, or when an ack would be due."""
        if not self._offer_control(frame, size(frame), self._patient):
            return False
        if self._patient_due_us is None:
            self._patient_due_us = now.mono_us + self._config.control_ack_us
        return True

    def pump(self, now: Instant, *, riding: bool = False) -> list[Frame]:
        """What may be sent now, in this order: control first, then data as far as the peer's credit goes.

        ``riding``: something is being written anyway, and what waited for that goes along.
        """
        out: list[Frame] = []
        due_us = self._patient_due_us
        if due_us is not None and (riding or self._control or self._data or self._rota or due_us <= now.mono_us):
            self._control.extendleft(reversed(self._patient))
            self._patient.clear()
            self._patient_due_us = None
        while self._control and self._has_room():
            self._control_bytes -= self._control[0][1]
            self._log_one(self._control.popleft(), out)
        # A frame may overdraw the credit it begins within: so the largest frame passes through any window.
        while self._data_sent < self._data_limit and self._has_room():
            if self._data and not (self._rota and self._short_run >= SHORT_BYTES):
                self._short(out)
            elif not (self._rota and self._piece(out)) and not self._data:
                break
        return out

    def _short(self, out: list[Frame]) -> None:
        sized = self._data.popleft()
        self._short_sent += 1
        self._short_run += sized[1]
        self._data_sent += sized[1]
        self._queue_bytes -= sized[1]
        if self._config.lane:
            self._ends.append((self._next, call_of(sized[0].header)))
        self._log_one(sized, out)

    def _piece(self, out: list[Frame]) -> bool:
        """One of what is long, if any may leave now."""
        self._short_run = 0
        piece = self._rota.next(self._short_sent)
        if piece is None:
            return False
        frame, frame_bytes, freed, call = piece
        if freed:
            self._ends.append((self._next, call))
        self._data_sent += frame_bytes
        self._queue_bytes -= freed  # the place of a frame is free when all of it has left
        self._log_one((frame, frame_bytes), out)
        return True

    def acknowledged(self, total: int) -> None:
        if total >= self._next:
            raise RemoteError("ack-ahead", f"{total} of {self._next - 1} sent")
        if total < self._log_first - 1:
            raise RemoteError("ack-backwards", f"{total} after {self._log_first - 1}")
        self._forget_until(total)

    def credited(self, total: int) -> None:
        if total < self._data_limit:
            raise RemoteError("credit-backwards", f"{total} after {self._data_limit}")
        self._data_limit = total

    def _has_room(self) -> bool:
        return len(self._log) < self._config.log_frames_max and self._log_bytes < self._config.log_bytes_max

    def _log_one(self, sized: Sized, out: list[Frame]) -> None:
        self._log_bytes += sized[1]
        self._log.append(sized)
        out.append(sized[0])

    def _forget_until(self, total: int) -> None:
        while self._log and self._log_first <= total:
            self._log_bytes -= self._log.popleft()[1]
            self._log_first += 1
        while self._ends and self._ends[0][0] <= total:
            call = self._ends.popleft()[1]
            left = self.calls[call] - 1
            if left:
                self.calls[call] = left
            else:
                del self.calls[call]

    # -- receiving ------------------------------------------------------------------------------------------------

    def accept(self, number: int, frame: Frame, now: Instant) -> bool:
        """Whether the frame that its link counted as ``number`` is new; if so, it counts as received."""
        assert number <= self.received + 1, "a link counts from what was told as received"
        if number <= self.received:
            self._owe(size(frame), self._config.control_ack_us, now)  # its sender waits to drop it from the log
            return False
        frame_bytes = size(frame)
        data_bytes = 0 if frame.kind is Kind.CONTROL else frame_bytes
        if data_bytes and self._data_got >= self._data_granted:
            raise RemoteError("credit-exceeded", f"{self._data_got + data_bytes} of {self._data_granted} bytes")
        self.received = number
        self._data_got += data_bytes
        self._owe(frame_bytes, self._config.data_ack_us if data_bytes else self._config.control_ack_us, now)
        return True

    def _owe(self, got_bytes: int, wait_us: int, now: Instant) -> None:
        self._unacked_bytes += got_bytes
        if self.received - self._told >= ACK_FRAMES or self._unacked_bytes >= ACK_BYTES:
            wait_us = 0
        due = now.mono_us + wait_us
        self._ack_due_us = due if self._ack_due_us is None else min(self._ack_due_us, due)

    def dues(self, now: Instant, *, riding: bool) -> list[Frame]:
        """ACK and CREDIT to send now: when due, or earlier when something else is being written anyway."""
        out: list[Frame] = []
        if self._ack_due_us is not None and not self.muted and (riding or self._ack_due_us <= now.mono_us):
            self._told, self._unacked_bytes, self._ack_due_us = self.received, 0, None
            out.append(frame_of(Kind.ACK, Total(self.received)))
        if self._data_granted - self._data_got <= self._config.window_bytes // 2:
            self._data_granted = self._data_got + self._config.window_bytes
            out.append(frame_of(Kind.CREDIT, Total(self._data_granted)))
        return out

    def deadline(self) -> int | None:
        return earliest(None if self.muted else self._ack_due_us, self._patient_due_us)
