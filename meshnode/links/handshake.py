"""HELLO and WELCOME: who is there, which of several links stays, and where the session goes on.

A link is up when WELCOME was sent (acceptor) or accepted (dialler), not before.
"""

import msgspec

from meshnode.kernel.counters import Counters
from meshnode.kernel.instant import Instant
from meshnode.kernel.reasons import Bye, Loss
from meshnode.kernel.rng import Random
from meshnode.links.config import HubConfig
from meshnode.links.hello import VERSION_MAX, VERSION_MIN, Hello, frame_of, objection
from meshnode.links.link import Link
from meshnode.links.messages import LinkRejected
from meshnode.links.peer import Peer, chosen_session, impostor, rival
from meshnode.links.roster import Roster
from meshnode.links.session import Session
from meshnode.model.errors import RemoteError
from meshnode.wire.frame import Frame, Kind


class Handshake:
    """Both sides of it. ``member`` may be replaced at any time: peers met from then on see the new one."""

    def __init__(self, config: HubConfig, rng: Random, roster: Roster, counters: Counters) -> None:
        self.member = config.member
        self._config = config
        self._rng = rng
        self._roster = roster
        self._counters = counters
        self._hellos = 0

    def begin(self, link: Link) -> None:
        """We dialled: say HELLO."""
        peer = self._roster.peer(link.peer)
        peer.dialling = link
        peer.proposal = peer.proposal or self._rng.randbytes(8)
        self._hellos += 1
        link.hello_no = self._hellos
        if peer.session is not None:
            link.offered, link.count = peer.session.id, peer.session.received
            peer.session.muted = True
        link.put(frame_of(Kind.HELLO, self._greeting(link, peer.session, peer.proposal)))

    def hello(self, link: Link, hello: Hello, now: Instant) -> None:
        """We were dialled."""
        link.hello_no = hello.hello_no
        if self._refused(link, hello, now):
            return
        peer = self._roster.peer(link.peer)
        self._meet_process(peer, hello, now)
        session, numbers_belong = chosen_session(peer, hello, self._config)
        if not numbers_belong:
            hello = msgspec.structs.replace(hello, attached=0, received=0, data_got=0)
        missing = session.attach(hello, max(session.attached, hello.attached) + 1)
        link.count = session.received
        link.put(frame_of(Kind.WELCOME, self._greeting(link, session, session.id)))
        dialling, peer.dialling = peer.dialling, None
        self._establish(peer, link, hello, session, missing, now)
        if dialling is not None:
            # Both dialled at once, and this one wins: see ``rival``.
            self._roster.say_goodbye(dialling, Bye.DUPLICATE_LINK, now)
            self._roster.turn.tell(LinkRejected(dialling.dial_no, peer.node, Loss.REPLACED, Bye.DUPLICATE_LINK))

    def welcome(self, link: Link, welcome: Hello, now: Instant) -> None:
        """Our HELLO was accepted."""
        if self._refused(link, welcome, now):
            return
        peer = self._roster[link.peer]
        held = peer.session
        if held is not None and welcome.session == held.id == link.offered and welcome.run_id == peer.run_id:
            session = held
        elif welcome.session == peer.proposal:
            session, link.count = Session(peer.proposal, self._config), 0
        else:
            raise RemoteError("welcome-session", "neither the session held nor the fresh one offered")
        missing = session.attach(welcome, welcome.attached)
        peer.dialling = None
        self._meet_process(peer, welcome, now)
        self._establish(peer, link, welcome, session, missing, now)

    def _refused(self, link: Link, theirs: Hello, now: Instant) -> bool:
        bye = objection(theirs, self._config.mesh, link.peer, link.name)
        peer = self._roster.get(link.peer)
        if bye is None and peer is not None:
            bye = impostor(peer, theirs, self._config, now)
            if bye is None and link.inbound:
                bye = rival(peer, theirs, self._config, now, tunnelled=bool(link.relay))
        if bye is None:
            return False
        self._counters.add(f"refused-{bye}")
        self._roster.drop(link, bye, Loss.CLOSED, now)
        return True

    def _greeting(self, link: Link, session: Session | None, fresh: bytes) -> Hello:
        config = self._config
        link.told_us = config.pace_us(self._roster.beside(link.peer))
        attached, received, data_got = (0, 0, 0) if session is None else session.standing()
        return Hello(
            (VERSION_MIN, VERSION_MAX), config.mesh, config.node, config.name, config.region, config.boot,
            config.run_id, self._hellos, session.id if session else b"", fresh, attached, received, data_got,
            config.window_bytes, self.member, config.features, link.told_us, config.lane,
        )  # fmt: skip

    def _meet_process(self, peer: Peer, theirs: Hello, now: Instant) -> None:
        """If another process now runs as this node, all that was shared with the former one is void."""
        if peer.run_id not in (b"", theirs.run_id):
            if peer.up is not None:
                bye = Bye.STALE_BOOT if theirs.boot > peer.boot else Bye.TWIN
                self._roster.drop(peer.up, bye, Loss.REPLACED, now)
            self._roster.tell_held(peer)
            self._roster.end_session(peer)
        peer.boot, peer.run_id = theirs.boot, theirs.run_id
        peer.name, peer.region, peer.features = theirs.name, theirs.region, theirs.features

    def _establish(
        self, peer: Peer, link: Link, theirs: Hello, session: Session, missing: list[Frame], now: Instant
    ) -> None:
        if peer.session is not session:
            self._roster.end_session(peer)
        peer.session, peer.proposal = session, b""
        link.keep_pace(theirs.pace_us)
        self._roster.come_up(peer, link, theirs.member, now)
        link.put_sequenced(missing)
        if missing:
            self._counters.add("frame-resent", len(missing))
