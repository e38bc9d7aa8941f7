"""The straight way of a lone frame: bytes that are one frame of a call or one letter, with the acknowledgement that
rides on it, and a frame of a call that is all there is to write.

What stands ready for many at once costs a lone call more than its frames do. Here each direction is one step, taken
only where nothing else is to be done in it; ``None`` leaves everything as it was, for the way of many (``Hub.take``,
``Hub.flush``). ``tests/unit/links/test_straight.py`` feeds both ways the same and compares what comes out.
"""

from meshnode.kernel.instant import Instant
from meshnode.links.alarms import Alarms
from meshnode.links.hello import Total, body_of
from meshnode.links.lanes import Lanes
from meshnode.links.link import SEQUENCED, Link, Phase
from meshnode.links.messages import CHANNELS, Transmit
from meshnode.links.roster import Roster
from meshnode.links.session import SHORT_KINDS, Session, bytes_of_short
from meshnode.model.errors import RemoteError
from meshnode.model.ids import LinkId, NodeId
from meshnode.wire.frame import Frame, Kind, size

LONE_KINDS = (*SHORT_KINDS, Kind.CONTROL)
Heard = tuple[NodeId, Frame, int]  # of whom, what, and by when the link wants to be woken


class Straight:
    """Of one hub."""

    def __init__(self, links: dict[LinkId, Link], roster: Roster, lanes: Lanes, alarms: Alarms) -> None:
        self._links, self._roster, self._lanes, self._alarms = links, roster, lanes, alarms

    @property
    def at_rest(self) -> bool:
        """No link has anything to say in this turn."""
        return not self._roster.turn.touched

    def hear(self, link_id: LinkId, data: bytes, now: Instant) -> Heard | None:
        """What a link that is up has read. What it owes for it at once leaves with the flush, as it would."""
        link = self._links.get(link_id)
        if link is None or link.phase is not Phase.UP or link.lane or self._roster.turn.touched:
            return None
        frames, session = link.whole(data), self._roster[link.peer].session
        if not frames or session is None or frames[0].flags != SEQUENCED or frames[0].kind not in LONE_KINDS:
            return None
        if len(frames) > 1 and not self._acknowledged(session, link.peer, frames[1:]):
            return None
        frame = frames[0]
        if not self._accepted(link, session, frame, now):
            return None
        link.count += 1
        link.heard(len(data), now)
        owed_us = session.owed_us(now)
        if owed_us <= now.mono_us:
            self._roster.turn.touch(link)
        else:
            self._alarms.sooner(link_id, owed_us)
        return link.peer, frame, owed_us

    def _accepted(self, link: Link, session: Session, frame: Frame, now: Instant) -> bool:
        if frame.kind is not Kind.CONTROL:
            return session.accept_run(link.count + 1, 1, size(frame), now)
        if frame.stream not in CHANNELS or link.count != session.received:
            return False  # it is refused, or was sent again
        return session.accept(link.count + 1, frame, now)

    def _acknowledged(self, session: Session, peer: NodeId, frames: list[Frame]) -> bool:
        """Behind a frame comes what its sender owed, and nobody waits for that. It may be said again."""
        if len(frames) > 1 or frames[0].kind is not Kind.ACK or frames[0].flags:
            return False
        if session.queued or self._lanes.busy(peer):
            return False
        try:
            session.acknowledged(body_of(frames[0], Total).total)
        except RemoteError:
            return False
        return True

    def write(self, peer: NodeId, frame: Frame, now: Instant) -> Transmit | None:
        """A frame for a peer before which nothing waits, with what was owed to him."""
        link = self._roster.up.get(peer)
        if link is None or self._roster.turn.touched or self._lanes.busy(peer):
            return None
        session, frame_bytes = self._roster[peer].session, bytes_of_short((frame,))
        if session is None or not frame_bytes or not session.send_alone(frame, frame_bytes):
            return None
        return Transmit(link.id, link.take_alone(frame, session.dues(now, riding=True), now))
