"""Who is linked, and what the end of a link means: goodbye, PeerDown, LinkRejected, a session that waits.

Invariant: PeerUp and PeerDown of a peer alternate; each dial that opened ends in one PeerUp or one LinkRejected.
"""

from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Reject
from meshnode.kernel.instant import Instant
from meshnode.kernel.reasons import Bye, Loss
from meshnode.kernel.timers import Timers
from meshnode.links.config import HubConfig
from meshnode.links.hello import Goaway, frame_of
from meshnode.links.link import Link
from meshnode.links.messages import LinkRejected, PeerDown, PeerUp
from meshnode.links.peer import Peer
from meshnode.links.turn import Turn
from meshnode.model.ids import NodeId
from meshnode.wire.frame import Kind


class Roster:
    """Peers, and the one link each may have up. ``turn`` is the hub's turn under way."""

    def __init__(self, config: HubConfig, counters: Counters, turn: Turn | None = None) -> None:
        self.turn = turn or Turn()
        self.changes = 0  # of links that are up, and of sessions
        self.up: dict[NodeId, Link] = {}  # in the order in which the peers came up
        self._config = config
        self._counters = counters
        self._peers: dict[NodeId, Peer] = {}
        self._keeping: Timers[NodeId] = Timers()  # sessions without a link

    def __getitem__(self, node: NodeId) -> Peer:
        return self._peers[node]

    def get(self, node: NodeId) -> Peer | None:
        return self._peers.get(node)

    def peer(self, node: NodeId) -> Peer:
        """The record of a peer, made if there is none."""
        if node not in self._peers:
            if len(self._peers) >= self._config.peers_max:
                self._forget_one()
            self._peers[node] = Peer(node)
        return self._peers[node]

    def beside(self, node: NodeId) -> int:
        """How many other peers have a link that is up."""
        return len(self.up) - (node in self.up)

    def _forget_one(self) -> None:
        """Of those without a link (there are some: fewer links than peers are allowed) the first without a session."""
        linkless = [p for p in self._peers.values() if p.up is None and p.dialling is None]
        gone = next((p for p in linkless if p.session is None), linkless[0])
        self.end_session(gone)
        self._keeping.cancel(gone.node)
        del self._peers[gone.node]

    # -- sessions -------------------------------------------------------------------------------------------------

    def end_session(self, peer: Peer) -> None:
        self.changes += 1
        lost = peer.session.abandon() if peer.session is not None else 0
        peer.session = None
        if lost:
            self._counters.add("frame-lost", lost)

    def _keep_session(self, peer: Peer, now: Instant) -> None:
        if peer.session is not None:
            self._keeping.set(peer.node, now.mono_us + self._config.session_keep_us)

    def expire_sessions(self, now: Instant) -> None:
        for node in self._keeping.pop_due(now.mono_us):
            peer = self._peers[node]
            if peer.dialling is None:  # else its end decides
                self._counters.add("session-expired")
                self.end_session(peer)

    def deadline(self) -> int | None:
        return self._keeping.deadline()

    # -- links come up --------------------------------------------------------------------------------------------

    def come_up(self, peer: Peer, link: Link, member: bytes, now: Instant) -> None:
        """The handshake is done. A peer that had a link until now, or just lost it to this one, did not come up."""
        former, held = peer.up, peer.down_held
        self._keeping.cancel(peer.node)
        self.changes += 1
        link.come_up(now)
        peer.up = self.up[peer.node] = link
        peer.down_held = None
        self.turn.touch(link)
        if former is not None:
            link.take_over(former)
            self.say_goodbye(former, Bye.DUPLICATE_LINK, now)
        if former is not None or held is not None:
            self._counters.add("link-replaced")
            if not link.inbound:
                self.turn.tell(LinkRejected(link.dial_no, link.peer, Loss.REPLACED, Bye.DUPLICATE_LINK))
            return
        peer.up_us = now.mono_us
        told = (peer.name, peer.region, peer.boot, link.inbound, link.dial_no, link.address, member)
        self.turn.tell(PeerUp(peer.node, *told))

    # -- links go -------------------------------------------------------------------------------------------------

    def say_goodbye(self, link: Link, bye: str, now: Instant) -> None:
        if not link.closing:
            link.put(frame_of(Kind.GOAWAY, Goaway(bye)))
            self.shut(link, now)

    def shut(self, link: Link, now: Instant, *, abort: bool = False) -> None:
        link.close(now)
        self.turn.close(link, abort=abort)

    def drop(self, link: Link, bye: str, how: Loss, now: Instant) -> None:
        """We end a link and say why. What that means here is told at once, as nothing more of it will be read."""
        self.say_goodbye(link, bye, now)
        self.gone(link, how, now, ours=bye)

    def gone(self, link: Link, how: Loss, now: Instant, *, theirs: str = "", ours: str = "") -> None:
        """Tell what the end of a link means; nothing if that was told before. ``theirs``, ``ours``: whose goodbye."""
        peer = self._peers.get(link.peer)
        if peer is None:
            return
        if peer.up is link:
            self.changes += 1
            peer.up = None
            del self.up[peer.node]
            down = PeerDown(peer.node, how, theirs)
            if theirs == Bye.DUPLICATE_LINK and peer.dialling is not None:
                peer.down_held = down  # the link that replaces it is the one we are dialling
            else:
                self.turn.tell(down)
            self._keep_session(peer, now)
        elif peer.dialling is link:
            peer.dialling = None
            self._unmute(peer)
            self.turn.tell(LinkRejected(link.dial_no, link.peer, how, theirs or ours))
            self.tell_held(peer)
            if peer.up is None:
                self._keep_session(peer, now)

    def _unmute(self, peer: Peer) -> None:
        """The HELLO that was under way came to nothing: what came meanwhile is acknowledged over the link there is."""
        if peer.session is not None and peer.session.muted:
            peer.session.muted = False
            if peer.up is not None:
                self.turn.touch(peer.up)

    def tell_held(self, peer: Peer) -> None:
        if peer.down_held is not None:
            self.turn.tell(peer.down_held)
            peer.down_held = None

    def reject(self, node: NodeId, reason: str, detail: str) -> None:
        self._counters.add(reason)
        self.turn.tell(Reject(node, reason, detail))
