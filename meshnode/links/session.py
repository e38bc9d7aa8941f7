"""What outlives a broken connection between two processes: sequence, sender log, acknowledgement, dedup, credit.

Sequenced frames are numbered by counting, not by a field: a connection keeps order, so both ends count alike. A link
starts counting where its receiver said in HELLO or WELCOME that it stands; the sender sends everything after that
again. Frames that arrived over the older link in the meantime are then counted a second time and dropped: exactly once,
in order, without a byte of overhead per frame. While a HELLO is under way they are not acknowledged: the receiver of
the acknowledgement would have dropped from its log what that HELLO asks for.

Invariant: ``log`` holds the frames numbered ``_log_first .. _next - 1``, and the peer acknowledged all before.
"""

from collections import deque
from collections.abc import Sequence

from meshnode.kernel.instant import MS, Instant
from meshnode.kernel.machine import earliest
from meshnode.links.config import HubConfig
from meshnode.links.hello import Hello, Total, frame_of
from meshnode.model.errors import RemoteError
from meshnode.wire.frame import HEADER_BYTES_MAX, PREFIX_BYTES, Frame, Kind, size
from meshnode.wire.parts import FEATURE as PARTS
from meshnode.wire.parts import KINDS as DATA_KINDS
from meshnode.wire.parts import LONG_BYTES, Assembly, call_of
from meshnode.wire.rota import Rota

ACK_FRAMES = 256  # more than this unacknowledged are acknowledged without waiting: the sender's log is bounded
ACK_BYTES = 256 * 1024
ACK_REST_US = 2 * MS  # after an acknowledgement the next one rides on nothing
SHORT_BYTES = 128 * 1024  # of short frames leave before what is long has its next piece
NEVER_US = 2**63 - 1
RUN_BYTES_MAX = SHORT_BYTES // 2  # of what is queued as one piece
Sized = tuple[Frame, int]  # with its bytes on the wire
Run = tuple[Sequence[Frame], int]  # frames that follow each other, at least one, with the bytes of all
SHORT_KINDS = (*DATA_KINDS, Kind.TUNNEL_DATA)  # that have no turn to keep but that of their link

_SHORT_PAYLOAD_MAX = LONG_BYTES - HEADER_BYTES_MAX - PREFIX_BYTES


def bytes_of_short(frames: Sequence[Frame]) -> int:
    """The bytes of frames that may leave as one piece: all of data, or of tunnels, and none of them long, whatever its
    header. Else 0."""
    content_bytes = 0
    for frame in frames:
        payload_bytes = len(frame.payload)
        if payload_bytes > _SHORT_PAYLOAD_MAX or frame.kind not in SHORT_KINDS:
            return 0
        content_bytes += len(frame.header) + payload_bytes
    return content_bytes + len(frames) * PREFIX_BYTES


class Session:
    """The two directions between two processes. Knows no link: frames to send come out, frames received go in."""

    def __init__(self, session_id: bytes, config: HubConfig) -> None:
        self.id = session_id
        self.attached = 0  # links it has had
        self.peer_run = b""  # unknown until the first WELCOME
        self._config = config
        # sending
        self._log: deque[Run] = deque()
        self._log_first = 1
        self._logged = self._log_bytes = 0  # frames, and their bytes
        self._control: deque[Sized] = deque()
        self._patient: deque[Sized] = deque()  # control, too, that waits for something to ride on
        self._patient_due_us: int | None = None
        self._data: deque[Run] = deque()  # short frames, as they came
        self._data_frames = 0
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
        self._acked_us = -ACK_REST_US

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
        return [frame for frames, _ in self._log for frame in frames]

    def abandon(self) -> int:
        """It will not go on. How many of its frames may never have arrived."""
        lost = self._logged + len(self._patient) + len(self._control) + self._data_frames + len(self._rota)
        for queue in (self._log, self._patient, self._control, self._data):
            queue.clear()
        self._logged = self._data_frames = 0
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

    @property
    def queued(self) -> bool:
        """Something waits for credit, or for room in the log."""
        return bool(self._data or self._control or self._rota)

    def holds(self, call: bytes) -> bool:
        """Something of that call is not acknowledged yet."""
        if call in self.calls:
            return True
        queues = (self._data, self._log)
        return any(call_of(frame.header) == call for runs in queues for frames, _ in runs for frame in frames)

    # -- sending --------------------------------------------------------------------------------------------------

    @property
    def _next(self) -> int:
        return self._log_first + self._logged

    def offer(self, frame: Frame) -> bool:
        """Queue one frame; False if the queue is full and the frame is dropped."""
        frame_bytes = size(frame)
        if frame.kind is Kind.CONTROL:
            return self._offer_control(frame, frame_bytes, self._control)
        if self._queue_bytes + frame_bytes > self._config.data_queue_bytes_max:
            return False
        self._queue_bytes += frame_bytes
        if self._in_parts and (frame_bytes > LONG_BYTES or self._rota) and self._long(frame):
            self._count(frame)
        else:
            self._data.append(((frame,), frame_bytes))
            self._data_frames += 1
            if self._config.lane:
                self._count(frame)
        return True

    def offer_run(self, frames: Sequence[Frame], run_bytes: int) -> bool:
        """Queue data frames of which none is long as one piece. False: they are to be offered one by one, and none of
        them was taken."""
        if self._config.lane or self._rota or run_bytes > RUN_BYTES_MAX:
            return False
        if self._queue_bytes + run_bytes > self._config.data_queue_bytes_max:
            return False
        self._queue_bytes += run_bytes
        self._data.append((frames, run_bytes))
        self._data_frames += len(frames)
        return True

    def send_alone(self, frame: Frame, frame_bytes: int) -> bool:
        """Log a short data frame that leaves now. False, and it is to be offered: something waits before it, or there
        is not room for all of it."""
        if self.queued or self._patient or self._config.lane:
            return False
        if not self._has_room_for(1, frame_bytes):
            return False
        self._short_sent += 1
        self._short_run += frame_bytes
        self._data_sent += frame_bytes
        self._log.append(((frame,), frame_bytes))
        self._logged += 1
        self._log_bytes += frame_bytes
        return True

    def _offer_control(self, frame: Frame, frame_bytes: int, queue: deque[Sized]) -> bool:
        if self._control_bytes + frame_bytes > self._config.queue_bytes_max:
            return False
        self._control_bytes += frame_bytes
        queue.append((frame, frame_bytes))
        return True

    def _long(self, frame: Frame) -> bool:
        return self._rota.add(frame, self._short_sent + self._data_frames)

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
            frame, frame_bytes = self._control.popleft()
            self._control_bytes -= frame_bytes
            self._log_run(((frame,), frame_bytes), out)
        # A frame may overdraw the credit it begins within: so the largest frame passes through any window.
        while self._data_sent < self._data_limit and self._has_room():
            if self._data and not (self._rota and self._short_run >= SHORT_BYTES):
                self._short(out)
            elif not (self._rota and self._piece(out)) and not self._data:
                break
        return out

    def _short(self, out: list[Frame]) -> None:
        run = self._data.popleft()
        frames, run_bytes = run
        if len(frames) > 1 and not self._has_room_for(len(frames), run_bytes):
            self._data.extendleft(((frame,), size(frame)) for frame in reversed(frames))
            return  # as many of them as there is room for
        self._data_frames -= len(frames)
        self._short_sent += len(frames)
        self._short_run += run_bytes
        self._data_sent += run_bytes
        self._queue_bytes -= run_bytes
        if self._config.lane:
            self._ends.append((self._next, call_of(frames[0].header)))
        self._log_run(run, out)

    def _piece(self, out: list[Frame]) -> bool:
        """One of what is long, if any may leave now."""
        self._short_run = 0
        piece = self._rota.next(self._short_sent)
        if piece is None:
            return False
        frame, frame_bytes, ended, call = piece
        if ended is not None:
            self._ends.append((self._next, call))
            self._queue_bytes -= size(ended)  # the place of a frame is free when all of it has left
        self._data_sent += frame_bytes
        self._log_run(((frame,), frame_bytes), out)
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
        return self._logged < self._config.log_frames_max and self._log_bytes < self._config.log_bytes_max

    def _has_room_for(self, frames: int, run_bytes: int) -> bool:
        """All of them, and no frame of them overdraws anything."""
        config = self._config
        return (
            self._data_sent + run_bytes <= self._data_limit
            and self._logged + frames <= config.log_frames_max
            and self._log_bytes + run_bytes <= config.log_bytes_max
        )

    def _log_run(self, run: Run, out: list[Frame]) -> None:
        self._log.append(run)
        self._logged += len(run[0])
        self._log_bytes += run[1]
        out += run[0]

    def _forget_until(self, total: int) -> None:
        while self._log and self._log_first <= total:
            frames, run_bytes = self._log.popleft()
            left = frames[total - self._log_first + 1 :]
            if left:  # what arrived was cut within a run
                left_bytes = sum(map(size, left))
                self._log.appendleft((left, left_bytes))
                run_bytes -= left_bytes
            gone = len(frames) - len(left)
            self._log_first += gone
            self._logged -= gone
            self._log_bytes -= run_bytes
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

    def accept_run(self, first: int, frames: int, run_bytes: int, now: Instant) -> bool:
        """Whether so many data frames, numbered from ``first``, are all new and within the credit; if so, they count as
        received. Else none does, and they are to be accepted one by one."""
        if first != self.received + 1 or self._data_got + run_bytes > self._data_granted:
            return False
        self.received += frames
        self._data_got += run_bytes
        self._owe(run_bytes, self._config.data_ack_us, now)
        return True

    def _owe(self, got_bytes: int, wait_us: int, now: Instant) -> None:
        self._unacked_bytes += got_bytes
        if self.received - self._told >= ACK_FRAMES or self._unacked_bytes >= ACK_BYTES:
            wait_us = 0
        due = now.mono_us + wait_us
        self._ack_due_us = due if self._ack_due_us is None else min(self._ack_due_us, due)

    def dues(self, now: Instant, *, riding: bool, asked: bool = False) -> list[Frame]:
        """ACK and CREDIT to send now: when due, or earlier when something else is being written anyway; but where that
        happens all the time, not each time, unless it answers a ping (``asked``)."""
        out: list[Frame] = []
        due_us, now_us = self._ack_due_us, now.mono_us
        rides = riding and (asked or now_us - self._acked_us >= ACK_REST_US)
        if due_us is not None and not self.muted and (rides or due_us <= now_us):
            self._told, self._unacked_bytes, self._ack_due_us, self._acked_us = self.received, 0, None, now_us
            out.append(frame_of(Kind.ACK, Total(self.received)))
        if self._data_granted - self._data_got <= self._config.window_bytes // 2:
            self._data_granted = self._data_got + self._config.window_bytes
            out.append(frame_of(Kind.CREDIT, Total(self._data_granted)))
        return out

    def owed_us(self, now: Instant) -> int:
        """When something is to be said because of what was received; it is, always, or will be."""
        if self._data_granted - self._data_got <= self._config.window_bytes // 2:
            return now.mono_us
        at_us = NEVER_US if self.muted or self._ack_due_us is None else self._ack_due_us
        return at_us if self._patient_due_us is None else min(at_us, self._patient_due_us)

    def deadline(self) -> int | None:
        return earliest(None if self.muted else self._ack_due_us, self._patient_due_us)
