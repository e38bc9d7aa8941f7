"""One connection after TLS: handshake phase, bytes to frames, heartbeat, round trip, what is to be written.

Invariant: in phase CLOSING nothing the peer sends is read any more, and nothing is written after the goodbye.
"""

import enum
from collections.abc import Sequence
from itertools import islice

from meshnode.kernel.instant import Instant
from meshnode.kernel.reasons import Loss
from meshnode.links.config import PACE_MAX_US, HubConfig
from meshnode.links.gusts import Gusts
from meshnode.links.hello import Ping, Pong, body_of, frame_of
from meshnode.links.messages import LANE_DIALS, LinkOpened
from meshnode.links.tunnelwire import TUNNEL_KINDS
from meshnode.model.errors import RemoteError
from meshnode.wire.frame import FRAME_BYTES_MAX, HEADER_BYTES_MAX, PREFIX_BYTES, Flag, Frame, Kind

DATA_KINDS = (Kind.CALL, Kind.RESULT, Kind.CANCEL, Kind.CHUNK, Kind.GRANT)
SOON_PART = 12  # of the time between two pings: so much earlier than due one may be sent
SEQUENCED = Flag.SEQUENCED.value  # a plain int: an enum's operators cost more than the rest of encoding
SEQUENCED_KINDS = (*DATA_KINDS, Kind.PART, Kind.CONTROL, *TUNNEL_KINDS)


class Phase(enum.Enum):
    """How far a connection has come."""

    AWAITING_HELLO = "awaiting-hello"
    AWAITING_WELCOME = "awaiting-welcome"
    UP = "up"
    CLOSING = "closing"


KINDS_IN_PHASE = {
    Phase.AWAITING_HELLO: (Kind.HELLO, Kind.GOAWAY),
    Phase.AWAITING_WELCOME: (Kind.WELCOME, Kind.GOAWAY),
    Phase.UP: (Kind.GOAWAY, Kind.PING, Kind.PONG, Kind.ACK, Kind.CREDIT, Kind.EVENT, Kind.LANE, *SEQUENCED_KINDS),
    Phase.CLOSING: (),
}
NOT_BY_LANE = (Kind.EVENT, Kind.LANE, Kind.CONTROL, *TUNNEL_KINDS)


class Link:
    """The state of one connection. ``count`` numbers the sequenced frames read from it; see session.py."""

    def __init__(self, opened: LinkOpened, config: HubConfig, now: Instant) -> None:
        self.id, self.peer, self.name = opened.link, opened.peer, opened.name
        self.inbound, self.dial_no, self.address = opened.inbound, opened.dial_no, opened.address
        self.lane = opened.dial_no > LANE_DIALS  # a second connection; of one that came in, HELLO tells
        self.relay = opened.relay  # that carries it; none: it is a connection of our own
        self.phase = Phase.AWAITING_HELLO if opened.inbound else Phase.AWAITING_WELCOME
        self.stale = False  # it stands on a certificate of ours that was renewed since
        self.hello_no = 0  # of the HELLO that opened it
        self.offered = b""  # session offered in it, if we said it
        self.count = 0
        self.opened_us = self.heard_us = self.up_us = self._sent_us = now.mono_us
        self.rtt_us: int | None = None
        self.ahead_ms: int | None = None  # the peer's wall clock against ours
        self.bytes_in = self.bytes_out = 0
        self.pings = self.unanswered = 0  # of ours; those whose PONG had not come when the next one was sent
        self.told_us = config.idle_ping_max_us  # what this end says of its pace
        self.pace_us = config.idle_ping_max_us  # the longest quiet both ends agree on
        self.idle_us = config.idle_ping_us  # quiet for so long it is pinged; the roster knows what all links may cost
        self._config = config
        # Until it has said HELLO a stranger may not make us buffer more than that.
        limit = PREFIX_BYTES + HEADER_BYTES_MAX if opened.inbound else FRAME_BYTES_MAX
        self._codec = config.codec
        self._reader = self._codec.reader(limit)
        self.whole = self._reader.whole  # what was read so counts when it is ``heard``
        self.gusts: Gusts | None = None  # from its first event on
        self._out: list[bytes] = []
        self._ping_no = 0
        self._ping_open = self._ping_behind = False
        self._ping_sent_us = self._measured_us = now.mono_us
        self._pong_for: int | None = None
        self._close_us: int | None = None
        # When it, or its session, is to be woken, as of its last turn; None: to be reckoned, something went straight.
        self.due_us: int | None = self.opened_us

    @property
    def closing(self) -> bool:
        return self.phase is Phase.CLOSING

    @property
    def pinged_now(self) -> bool:
        """A ping of the peer is to be answered in this turn."""
        return self._pong_for is not None

    # -- bytes ----------------------------------------------------------------------------------------------------

    def feed(self, data: bytes, now: Instant) -> list[Frame]:
        """The frames that are complete. Raises ``RemoteError`` when the stream is junk."""
        self.heard_us = now.mono_us
        self.bytes_in += len(data)
        return self._reader.feed(data)

    def heard(self, data_bytes: int, now: Instant) -> None:
        """What was ``whole`` is taken."""
        self.heard_us, self.due_us = now.mono_us, None
        self.bytes_in += data_bytes

    def check(self, frame: Frame) -> None:
        """Raises ``RemoteError`` unless a frame of this kind may come now, sequenced or not as its kind demands."""
        if self.lane and frame.kind in NOT_BY_LANE:
            raise RemoteError("frame-unexpected", f"{frame.kind.name} by a lane")
        if self.phase is Phase.UP and frame.flags == SEQUENCED and frame.kind in SEQUENCED_KINDS:
            return
        if frame.kind not in KINDS_IN_PHASE[self.phase]:
            raise RemoteError("frame-unexpected", f"{frame.kind.name} while {self.phase.value}")
        if frame.flags != (SEQUENCED if frame.kind in SEQUENCED_KINDS else 0):
            raise RemoteError("frame-flags", f"{frame.kind.name} with flags {frame.flags}")

    def run_from(self, frames: Sequence[Frame], at: int) -> tuple[int, int]:
        """Where the data frames that begin there end, each of which may come now; and the bytes of them all."""
        if self.phase is not Phase.UP:
            return at, 0
        end, content_bytes = at, 0
        for frame in islice(frames, at, None):
            if frame.flags != SEQUENCED or frame.kind not in DATA_KINDS:
                break
            end += 1
            content_bytes += len(frame.header) + len(frame.payload)
        return end, content_bytes + (end - at) * PREFIX_BYTES

    def put(self, frame: Frame) -> None:
        self._out.append(self._codec.encode(frame))

    def put_sequenced(self, frames: list[Frame]) -> None:
        self._out += self._codec.encode_all(frames, SEQUENCED)

    def events(self) -> Gusts:
        """Of this link, in both directions."""
        if self.gusts is None:
            self.gusts = Gusts()
        return self.gusts

    @property
    def has_output(self) -> bool:
        return bool(self._out) or self._pong_for is not None or self._ping_behind

    def take(self, now: Instant) -> bytes:
        """All that is to be written, as one piece."""
        if self._pong_for is not None and self.phase is Phase.UP:
            self.put(frame_of(Kind.PONG, Pong(max(0, now.wall_ms)), self._pong_for))
        self._pong_for = None
        if self._ping_behind and self.phase is Phase.UP:
            self.ping(now)
        self._ping_behind = False
        self._sent_us = now.mono_us
        data = self._codec.join(self._out)
        self._out.clear()
        self.bytes_out += len(data)
        return data

    def take_alone(self, frame: Frame, beside: Sequence[Frame], now: Instant) -> bytes:
        """The bytes of a sequenced frame and what goes along, where nothing else is to be written."""
        data = self._codec.encode(frame, SEQUENCED)
        if beside:
            data = self._codec.join([data, *(self._codec.encode(each) for each in beside)])
        self._sent_us, self.due_us = now.mono_us, None
        self.bytes_out += len(data)
        return data

    # -- phases ---------------------------------------------------------------------------------------------------

    def come_up(self, now: Instant) -> None:
        self.phase = Phase.UP
        self.up_us = now.mono_us
        self._reader.frame_bytes_max = FRAME_BYTES_MAX
        if not self.inbound:
            self.rtt_us = now.mono_us - self.opened_us  # HELLO to WELCOME: a first, rough measure
            self.ping(now)

    def close(self, now: Instant) -> None:
        self.phase = Phase.CLOSING
        self._close_us = now.mono_us + self._config.linger_us

    def take_over(self, former: "Link") -> None:
        """What was measured on the link this one replaces stays true of the path."""
        self.bytes_in += former.bytes_in
        self.bytes_out += former.bytes_out
        self.pings += former.pings
        self.unanswered += former.unanswered
        if former.gusts is not None:
            self.events().inherit(former.gusts.let_go())
        if self.rtt_us is None:
            self.rtt_us, self.ahead_ms = former.rtt_us, former.ahead_ms

    def keep_pace(self, theirs_us: int) -> None:
        """The peer pings after so much quiet: whoever of the two is slower sets the pace."""
        self.pace_us = max(self.told_us, min(theirs_us, PACE_MAX_US))
        self.afford(self.idle_us)

    def afford(self, idle_us: int) -> None:
        """So long may this node leave one of its links quiet."""
        self.idle_us = idle_us if self.pace_us == self._config.idle_ping_max_us else self.pace_us

    # -- heartbeat ------------------------------------------------------------------------------------------------

    def ping(self, now: Instant) -> None:
        self.pings += 1
        self.unanswered += self._ping_open
        self._ping_no = (self._ping_no + 1) % 2**32
        self._ping_sent_us, self._ping_open = now.mono_us, True
        self.put(frame_of(Kind.PING, Ping(self.rtt_us, self.ahead_ms), self._ping_no))

    def ping_behind(self) -> None:
        """Ping behind all that is written in this turn, unless a ping is under way."""
        self._ping_behind = not self._ping_open

    def pinged(self, frame: Frame) -> None:
        """The pinger tells what it measured, so that we need not.

        One answer a turn, however many were asked: a flood of pings gains its sender nothing.
        """
        ping = body_of(frame, Ping)
        self._pong_for = frame.stream
        if ping.rtt_us is not None:
            self.rtt_us = ping.rtt_us
        if ping.ahead_ms is not None:
            self.ahead_ms = -ping.ahead_ms

    def ponged(self, frame: Frame, now: Instant) -> None:
        pong = body_of(frame, Pong)
        if not self._ping_open or frame.stream != self._ping_no:
            return
        self._ping_open, self._measured_us = False, now.mono_us
        sample = now.mono_us - self._ping_sent_us
        known = self.rtt_us
        self.rtt_us = sample if known is None else known + (sample - known) // 4  # EWMA, a quarter for the newest
        self.ahead_ms = pong.wall_ms - (now.wall_ms - sample // 2000)

    def wake(self, now: Instant) -> Loss | None:
        """Ping if it is time. ``SILENT``: the peer has had its time; ``CLOSED``: our own goodbye has."""
        at = now.mono_us
        if self._close_us is not None:
            return Loss.CLOSED if at >= self._close_us else None
        if at >= self._silent_at():
            return Loss.SILENT
        if self.wants_ping(now):
            self.ping(now)
        return None

    def wants_ping(self, now: Instant) -> bool:
        """It is time, or nearly: of several links those that are due soon are pinged together, in one waking."""
        ping_at = self._ping_at()
        return ping_at is not None and now.mono_us >= ping_at - self.idle_us // SOON_PART

    def deadline(self) -> int:
        if self._close_us is not None:
            return self._close_us
        ping_at = self._ping_at()
        return self._silent_at() if ping_at is None else min(self._silent_at(), ping_at)

    def _silent_at(self) -> int:
        if self.phase is Phase.UP:
            return self.heard_us + max(self._config.silent_us, round(2 * self._config.acceptor_patience * self.pace_us))
        return self.opened_us + self._config.handshake_us

    def _ping_at(self) -> int | None:
        """After a while of quiet, by the dialler of either direction: a peer that only listens must be heard by us, and
        one that only speaks must hear us. The dialler pings also on a busy link, to measure it."""
        if self.phase is not Phase.UP:
            return None
        patience = self._config.acceptor_patience if self.inbound else 1.0
        quiet_us = self.heard_us if self.inbound else min(self.heard_us, self._sent_us)
        quiet_at = max(quiet_us, self._ping_sent_us) + round(self.idle_us * patience)
        if self.inbound:
            return quiet_at
        return min(quiet_at, max(self._measured_us, self._ping_sent_us) + max(self._config.measure_us, self.idle_us))
