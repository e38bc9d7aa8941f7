"""Links that come and go, and dials that end: what that means to each of the small machines."""

from functools import partial

from meshnode.gossip.letters import Doubt, post
from meshnode.gossip.messages import DialFailed, Reached
from meshnode.gossip.parts import Parts
from meshnode.gossip.repair import row_letters
from meshnode.kernel.effects import Effect, Hangup, Reject, Undial
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.reasons import Bye, DialFailure, Loss
from meshnode.links.messages import LinkRejected, PeerDown, PeerUp
from meshnode.model.ids import NodeId

LONELY_US = 5 * SECOND


class Doorway:
    """Who comes in is checked, greeted and told what he may not know."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts

    def handle(self, event: PeerUp | PeerDown | LinkRejected | DialFailed | Reached, now: Instant) -> list[Effect]:
        match event:
            case PeerUp():
                return self.peer_up(event, now)
            case PeerDown():
                return self.peer_down(event, now)
            case DialFailed(dial_no, how):
                return self.dial_failed(dial_no, how, now)
            case LinkRejected():
                return self.link_rejected(event, now)
            case Reached(dial_no):
                parts = self._parts
                spared_us = partial(parts.planning.spared_us, now=now)
                useful = parts.contacts.reached(dial_no, self._settled, spared_us, now)
                return [] if useful else [Undial(dial_no)]

    def _settled(self, node: NodeId) -> bool:
        """Nobody looks for this node: it is thought well, and has no link that may be dead."""
        return not self._parts.overlay.linked(node) and not self._parts.outlook.lost(node)

    def peer_up(self, event: PeerUp, now: Instant) -> list[Effect]:
        parts = self._parts
        member = parts.ports.trust.admit(event.member)
        if isinstance(member, str) or member.node != event.peer:
            reason = member if isinstance(member, str) else "of-another-node"
            return [Reject(event.peer, f"member-{reason}"), Hangup(event.peer, Bye.UNTRUSTED)]
        returned = parts.detector.lost(event.peer)
        if returned and parts.planning.lost_long(now):  # a cut heals: look for all others at once
            for node in parts.contacts.aimed():
                if parts.detector.lost(node):
                    parts.contacts.hurry(node, now)
        apart = self._apart(event, now)
        effects = parts.contacts.found(event.dial_no, event.peer, now)
        effects += parts.trying.ended(event.dial_no, None)
        if event.inbound and parts.asking.came_in(event.address, now):
            effects += parts.found_out(now)
        effects += parts.detector.up(event.peer, event.boot, now)
        effects += parts.overlay.up(event.peer, now, returned=returned)
        return effects + self.exchange(event.peer, now, returned=returned and apart, apart=apart)

    def _apart(self, event: PeerUp, now: Instant) -> bool:
        """Whether it may not have heard in time that this node stands by its facts. A stranger is given them anew."""
        parts = self._parts
        entry, away_us = parts.directory.present(event.peer), parts.detector.away_us(event.peer, now)
        if entry is None:
            return False
        if entry.boot != event.boot:
            return True
        return not parts.soft.outlasts(away_us) if away_us else parts.outlook.lost(event.peer)

    def recovered(self, peer: NodeId, now: Instant) -> list[Effect]:
        """A silent link speaks again. What was written to it meanwhile arrives, in order: there is nothing to repeat.

        Only the roots are compared, once, for what the peer did not pass on or we dropped in that time.
        """
        parts = self._parts
        parts.planning.links_changed(peer, now)
        return parts.repairs.open(peer) if parts.config.node < peer else []

    def exchange(self, peer: NodeId, now: Instant, *, returned: bool, apart: bool) -> list[Effect]:
        """What two nodes tell each other when a link comes up. ``returned``: the peer had been lost for long;
        ``apart``: that, or it is not known to have been in the mesh until now."""
        parts = self._parts
        parts.planning.links_changed(peer, now)
        entry, standing = parts.directory.entry(parts.config.node), parts.detector.standing()
        effects = row_letters(peer, [entry.signed] if entry else [])
        effects += [post(peer, standing)] if standing else []
        effects += self._remembered(peer)
        stranger = parts.directory.present(peer) is None
        effects += [
            *parts.broadcast.up(peer, now, stranger=stranger),
            *parts.soft.up(peer, now, returned=returned, apart=apart),
        ]
        return effects + (parts.repairs.open(peer) if parts.config.node < peer else [])

    def _remembered(self, peer: NodeId) -> list[Effect]:
        """Who was silent so long that it was forgotten is a member again by a row newer than that: ask it for one."""
        directory = self._parts.directory
        entry = directory.entry(peer)
        if entry is None or entry.left or directory.counted(peer) is not None:
            return []
        return [post(peer, Doubt(entry.boot, entry.incarnation))]

    def peer_down(self, event: PeerDown, now: Instant) -> list[Effect]:
        parts, peer = self._parts, event.peer
        parts.overlay.down(peer, event.bye, now)
        parts.asking.down(peer)
        parts.trying.down(peer)
        asked = [*parts.broadcast.down(peer), *parts.soft.down(peer)]
        if parts.overlay.lonely:
            parts.contacts.hurry_all(now, LONELY_US)
        effects = parts.detector.down(peer, event.how, event.bye, now)
        parts.planning.links_changed(peer, now)
        return [*effects, *asked]

    def dial_failed(self, dial_no: int, how: DialFailure, now: Instant) -> list[Effect]:
        parts = self._parts
        told = parts.trying.ended(dial_no, how)
        attempt = parts.contacts.failed(dial_no, how, lonely=parts.overlay.lonely, now=now)
        if attempt is None or not attempt.node:
            return told
        effects = told + parts.detector.dial_failed(attempt.node, how, now, proven=attempt.proven)
        parts.planning.dial_failed(attempt.node, now)
        return effects

    def _broken_off(self, dial_no: int, now: Instant) -> list[Effect]:
        """No refusal: with a reset of the way, or of the relay on it, the connections of all who dial end at once."""
        parts = self._parts
        attempt = parts.contacts.failed(dial_no, DialFailure.REFUSED, lonely=parts.overlay.lonely, now=now)
        if attempt is None or not attempt.node:
            return []
        effects = parts.detector.broken_off(attempt.node, now)
        parts.planning.dial_failed(attempt.node, now)
        return effects

    def link_rejected(self, event: LinkRejected, now: Instant) -> list[Effect]:
        """TLS stood, the handshake of the links did not. Who says why is alive; who just goes may have been cut off."""
        parts, contacts = self._parts, self._parts.contacts
        if not event.bye and event.how is Loss.SILENT:
            return self.dial_failed(event.dial_no, DialFailure.TIMEOUT, now)
        if not event.bye:
            return self._broken_off(event.dial_no, now)
        if event.bye == Bye.DUPLICATE_LINK and parts.overlay.linked(event.peer):
            return parts.trying.ended(event.dial_no, None) + contacts.found(event.dial_no, event.peer, now)
        address = contacts.address(event.dial_no)
        if event.bye == Bye.SELF and address is not None:
            parts.own_addresses[address] = None
            contacts.moved()
        # With a duplicate another handshake is under way; if that one fails, this target must still be there.
        how = DialFailure.TIMEOUT if event.bye == Bye.DUPLICATE_LINK else DialFailure.UNTRUSTED
        attempt = contacts.failed(event.dial_no, how, lonely=parts.overlay.lonely, now=now)
        if attempt is not None and attempt.node and how is DialFailure.UNTRUSTED:
            parts.overlay.avoid(attempt.node, now)  # a large mesh has others to draw
            parts.planning.note(attempt.node, now)
        return []
