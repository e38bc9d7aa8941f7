"""What the hub knows of one other node, and who wins when more than one link, or process, claims to be it."""

from meshnode.kernel.instant import Instant
from meshnode.kernel.reasons import Bye
from meshnode.links.config import HubConfig
from meshnode.links.hello import Hello
from meshnode.links.link import Link
from meshnode.links.messages import PeerDown
from meshnode.links.session import Session
from meshnode.model.ids import NodeId


class Peer:
    """One node. ``up``: the link in use; ``dialling``: our dial that awaits WELCOME (at most one at a time)."""

    def __init__(self, node: NodeId) -> None:
        self.node = node
        self.name = self.region = ""
        self.features: tuple[str, ...] = ()
        self.boot = 0
        self.run_id = b""  # of the process last talked to
        self.up: Link | None = None
        self.up_us = 0
        self.dialling: Link | None = None
        self.session: Session | None = None
        self.proposal = b""  # fresh session id offered in our HELLOs until a session stands
        self.down_held: PeerDown | None = None  # told only if ``dialling``, which should replace the lost link, fails

    def is_alive(self, config: HubConfig, now: Instant) -> bool:
        """Its link was heard lately, as far as its pace goes."""
        return self.up is not None and self.heard_within(max(config.alive_us, 3 * self.up.pace_us // 2), now)

    def heard_within(self, within_us: int, now: Instant) -> bool:
        return self.up is not None and now.mono_us - self.up.heard_us <= within_us


def impostor(peer: Peer, theirs: Hello, config: HubConfig, now: Instant) -> Bye | None:
    """Two processes with one identity: the newer boot is the node; of equal boots the one that was here first."""
    if theirs.boot < peer.boot:
        return Bye.STALE_BOOT
    if theirs.boot == peer.boot and theirs.run_id != peer.run_id and peer.is_alive(config, now):
        return Bye.TWIN
    return None


def rival(peer: Peer, hello: Hello, config: HubConfig, now: Instant, *, tunnelled: bool = False) -> Bye | None:
    """Whether the link of this HELLO is one too many.

    When both dialled at once, the dial of the smaller NodeId stays, but a direct one before one through a relay. A
    HELLO beside a link that is up replaces it if its sender knew of that link (so it has lost it, and we have not
    noticed); else it was sent before that link came up.
    """
    dialling = peer.dialling
    if dialling is not None:
        ours = bool(dialling.relay) == tunnelled and config.node < peer.node
        if ours or (tunnelled and not dialling.relay):
            return Bye.DUPLICATE_LINK
    up, session = peer.up, peer.session
    if up is None or session is None or hello.run_id != peer.run_id or not peer.is_alive(config, now):
        return None
    if up.inbound:
        later = hello.hello_no > up.hello_no
    else:
        later = hello.session == session.id and hello.attached >= session.attached
    return None if later else Bye.DUPLICATE_LINK


def chosen_session(peer: Peer, hello: Hello, config: HubConfig) -> tuple[Session, bool]:
    """The acceptor's choice, and whether the numbers in HELLO (``received``, ...) belong to it."""
    held = peer.session
    if held is not None and held.id == hello.session:
        return held, True
    if held is not None and held.id == hello.fresh:
        return held, False  # our WELCOME was lost: the dialler begins, and we send again from the first frame
    if hello.session and hello.session == peer.proposal:
        return Session(peer.proposal, config), True  # their WELCOME was lost
    return Session(hello.fresh, config), False
