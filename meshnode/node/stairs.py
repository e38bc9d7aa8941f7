"""The stairs: this room's fact is that room's input. A table to read, and nothing else.

A fact without a line here is a mistake and stops the node: a fact nobody hears should not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.agents.messages import AgentsStopped, InstanceChanged, SkillsOffered, SkillsWithdrawn
from meshnode.checkpoints.messages import (
    AgentRestored,
    CopyKept,
    CopyLost,
    EntryKept,
    EntryLost,
    FoldKept,
    FoldLost,
    HandedOver,
    StateKept,
    StateMerged,
    StateReady,
    StateRefused,
    VersionMoved,
    VersionRead,
    VersionRestored,
)
from meshnode.crdt.messages import DocumentChanged, EnvelopesKept
from meshnode.deployments.bundles import BundleArrived, BundleLacking
from meshnode.gossip.messages import (
    Described,
    DialFailed,
    Doubted,
    MemberChanged,
    MemberState,
    Publish,
    SoftChanged,
    Twinned,
)
from meshnode.kernel.effects import Channel, Effect, Hangup, Note, Reject
from meshnode.kernel.reasons import Bye
from meshnode.links.messages import (
    ControlReceived,
    Expelled,
    FramesReceived,
    LinkRejected,
    PeerDown,
    PeerUp,
    Post,
    Shutdown,
)
from meshnode.links.tunnelwire import RelayNeeded, TunnelFailed, TunnelReceived
from meshnode.messaging.messages import (
    CallOverdue,
    Emitted,
    ListensTo,
    MergeDone,
    MeshAsked,
    Reach,
    Sought,
    StateWritten,
)
from meshnode.messaging.topics import TOLD_BYTES_LARGE_MAX, TOLD_BYTES_MAX, TOPICS_KEY, told
from meshnode.model.units import agent_of
from meshnode.node import asking, unit_stairs, units
from meshnode.node.effects import Exit
from meshnode.node.facts import Started, WishesUnkept
from meshnode.node.survey import RegionSurvey
from meshnode.scheduler.messages import ClaimsChanged, DrainsChanged, UnitChanged, UnitClaimed, UnitReleased, Wanted
from meshnode.security.messages import CertificateChanged
from meshnode.wire.frame import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.kernel.instant import Instant
    from meshnode.model.ids import NodeId
    from meshnode.node.core import Core
    from meshnode.wire.frame import Frame

EXIT_TWIN = 4
# What a kind of document is called in ``why``.
DOCUMENT_WORDS = {"AgentCluster": "cluster"}


def climb(core: Core, fact: Effect, now: Instant) -> Sequence[Effect]:
    """Carry one fact to every room that cares."""
    match fact:
        case ControlReceived():  # the most frequent first
            return _control(core, fact, now)
        case Started():
            return _started(core, now)
        case PeerUp():
            return _peer_up(core, fact, now)
        case PeerDown():
            return _peer_down(core, fact, now)
        case LinkRejected():
            return core.gossip.handle(fact, now)
        case FramesReceived():
            return frames_from(core, fact.peer, fact.frames, now)
        case TunnelReceived(peer):
            return core.tunnels.handle(fact, now) if peer in core.linked else ()
        case TunnelFailed(dial_no, how, detail, address):
            return core.gossip.handle(DialFailed(dial_no, how, detail, address), now)
        case RelayNeeded(relay):
            return core.gossip.reach(relay, now)
        case Expelled():
            return _expelled(core, fact)
        case Twinned(reason):
            return _leave_for_twin(core, reason)
        case MemberChanged():
            return _member(core, fact, now)
        case Described():
            return _described(core, fact)
        case SoftChanged(node, key, value):
            return units.learned(core, node, key, value, now)
        case AgentsStopped():
            return [*core.switch.close(now), *core.hub.handle(Shutdown(), now), Exit(0, "asked to go down")]
        case DocumentChanged():
            return [
                *core.watching.changed(fact, now), *_document(core, fact), *core.interests.changed(fact, now),
                *core.bans.changed(fact, now),
            ]  # fmt: skip
        case CertificateChanged():
            core.hub.renewed()
            return core.gossip.renew_links(now)
        case WishesUnkept():
            core.intentions.changed()
            return ()
        case EnvelopesKept():
            return core.documents.handle(fact, now)
        case Reach(node):
            return core.gossip.reach(node, now)
        case Sought(address, node):
            return core.beyond.seek(address, node, now)
        case ListensTo(filters):
            bytes_max = TOLD_BYTES_MAX if core.gossip.holds_all() else TOLD_BYTES_LARGE_MAX
            return core.gossip.handle(Publish(TOPICS_KEY, told(filters, bytes_max)), now)
        case CallOverdue(peer):
            return core.gossip.handle(Doubted(peer), now)
        case _:
            return _of_unit(core, fact, now)


def _of_unit(core: Core, fact: Effect, now: Instant) -> Sequence[Effect]:
    """Facts about one unit, or one agent, of this node."""
    match fact:
        case Wanted():
            return core.scheduler.wanted(fact, now)
        case DrainsChanged():
            return core.scheduler.drains_changed(fact, now)
        case UnitClaimed():
            return unit_stairs.claimed(core, fact, now)
        case UnitChanged():
            return unit_stairs.changed(core, fact, now)
        case UnitReleased():
            return unit_stairs.released(core, fact, now)
        case InstanceChanged():
            return unit_stairs.instance(core, fact, now)
        case SkillsOffered():
            return unit_stairs.offered(core, fact, now)
        case SkillsWithdrawn():
            return unit_stairs.withdrawn(core, fact, now)
        case ClaimsChanged(agent):
            return core.offering.changed(agent, now)
        case VersionMoved(unit):
            return core.offering.changed(agent_of(unit), now)
        case BundleArrived(digest) | BundleLacking(digest):
            return unit_stairs.bundle(core, digest, now)
        case Emitted():
            return unit_stairs.emitted(fact)
        case MeshAsked():
            return asking.asked(core, fact, now)
        case _:
            return _of_state(core, fact, now)


def _of_state(core: Core, fact: Effect, now: Instant) -> Sequence[Effect]:
    """Facts about what a unit remembers."""
    match fact:
        case StateReady():
            return unit_stairs.state_ready(core, fact, now)
        case StateWritten():
            return core.checkpoints.wrote(fact, now)
        case MergeDone():
            return core.checkpoints.merge_done(fact, now)
        case StateKept():
            return unit_stairs.kept(core, fact, now)
        case StateRefused():
            return unit_stairs.refused(core, fact, now)
        case StateMerged():
            return unit_stairs.merged(core, fact)
        case HandedOver():
            return unit_stairs.handed_over(core, fact, now)
        case FoldKept() | FoldLost():
            return [*core.checkpoints.handle(fact, now), *core.desk.folded(now)]
        case EntryKept() | EntryLost() | CopyKept() | CopyLost() | AgentRestored():
            return core.checkpoints.handle(fact, now)
        case VersionRead() | VersionRestored():
            return core.desk.version_told(fact, now)
        case _:
            raise AssertionError(f"a fact nobody hears: {fact}")


def _started(core: Core, now: Instant) -> list[Effect]:
    core.started = True
    core.gossip.catalogue.surveyed(RegionSurvey(core), now.mono_us)
    return [
        Note(f"node/{core.config.name}", f"started, boot {core.boot}"),
        *(Note(f"node/{core.config.name}", note) for note in core.config.notes),
        *core.gossip.start(now),
        *core.agents.start(now),
        *core.checkpoints.start(now),
        *core.intentions.tell(),
        *core.scheduler.start(now),
    ]


def _peer_up(core: Core, fact: PeerUp, now: Instant) -> list[Effect]:
    admitted = core.trust.admit(fact.member)
    if isinstance(admitted, str) or admitted.node != fact.peer:
        # The certificate let it in, the admin's record does not: nothing it says may be applied.
        why = admitted if isinstance(admitted, str) else "of-another-node"
        core.counters.add("member-refused")
        return [Reject(fact.peer, f"member-{why}"), Hangup(fact.peer, Bye.UNTRUSTED)]
    if core.bans.refuses(fact.peer):
        return core.bans.turned_away(fact.peer)
    core.linked[fact.peer] = None
    core.index.described(fact.peer)
    return [
        Note(f"node/{admitted.name}", f"linked {'from' if fact.inbound else 'to'} {fact.address}", idly=True),
        *core.gossip.handle(fact, now),
        *core.tunnels.handle(fact, now),
        *core.documents.handle(fact, now),
        *core.switch.peer_up(fact.peer, fact.boot, now),
        *core.checkpoints.handle(fact, now),
        *core.bundles.peer_up(now),
        *core.scheduler.linked(now),
    ]


def _peer_down(core: Core, fact: PeerDown, now: Instant) -> list[Effect]:
    if core.linked.pop(fact.peer, False) is False:
        return []  # it was refused: for the rooms it never was there
    why = fact.bye or fact.how.value
    return [
        *core.tunnels.handle(fact, now),
        Note(f"node/{core.names.of(fact.peer)}", f"link lost: {why}", idly=True),
        *core.gossip.handle(fact, now),
        *core.documents.handle(fact, now),
        *core.switch.peer_down(fact.peer, now),
        *core.checkpoints.handle(fact, now),
    ]


def frames_from(core: Core, peer: NodeId, frames: tuple[Frame, ...], now: Instant) -> Sequence[Effect]:
    """What a peer says of calls and topics."""
    if peer not in core.linked:
        core.counters.add("unadmitted", len(frames))
        return ()
    return core.switch.from_peer(peer, frames, now)


def lone_from(core: Core, peer: NodeId, frame: Frame, now: Instant) -> Sequence[Effect]:
    """What a frame that came straight means: one of a call, or a piece of a tunnel, which a relay only passes on."""
    if frame.kind is not Kind.TUNNEL_DATA:
        said = core.lone_for_switch(peer, frame, now) if peer in core.linked else None
        if said is not None:
            return said
        core.rooms.touch(FramesReceived(peer, (frame,)))
        return frames_from(core, peer, (frame,), now)
    passed = core.hub.pass_on(peer, frame, now)
    if passed is not None:
        return (Post(passed[0], (passed[1],)),)
    return climb(core, TunnelReceived(peer, frame), now)


def _control(core: Core, fact: ControlReceived, now: Instant) -> Sequence[Effect]:
    if fact.peer not in core.linked:
        core.counters.add("unadmitted")
        return ()
    match fact.channel:
        case Channel.GOSSIP:
            return core.gossip.take(fact, now)  # the turn ends with its flush
        case Channel.STATE:
            return core.documents.handle(fact, now)
        case Channel.CHECKPOINT:
            return core.checkpoints.handle(fact, now)
        case Channel.BUNDLE:
            return core.bundles.handle(fact, now)
        case Channel.CALL | Channel.ENROL:
            core.counters.add("control-without-room")
            return ()


def _described(core: Core, fact: Described) -> Sequence[Effect]:
    core.index.described(fact.node)
    core.scheduler.described(fact.node)
    if not fact.facts_only:
        core.documents.empowered(fact.node)
    return ()


def _member(core: Core, fact: MemberChanged, now: Instant) -> Sequence[Effect]:
    if fact.node == core.config.node:
        return ()
    core.places.changed(fact.node, fact.state, now)
    if fact.state is not MemberState.READY:
        core.switch.peer_doubted(fact.node)
    return [
        *core.cuts.told(fact),
        *core.scheduler.member_changed(fact.node, now),
        *core.succession.look(now),
        *core.switch.offers_changed(now),
        *(core.checkpoints.reachable_again(now) if fact.state is MemberState.READY else ()),
        *(core.journals.reachable(fact.node, now) if fact.state is MemberState.READY else ()),
    ]


def _document(core: Core, fact: DocumentChanged) -> Sequence[Effect]:
    subject = f"agent/{fact.name}" if fact.kind == "Agent" else f"{_word_of(fact.kind)}/{fact.namespace}/{fact.name}"
    core.intentions.changed(fact.doc_id)
    core.policies.changed(fact)
    if fact.kind == "Node":
        return ()  # told as what it means, see node/drains.py
    return [Note(subject, f"changed by {core.names.of(fact.by)}", idly=True, lazily=fact.lazily)]


def _word_of(kind: str) -> str:
    return DOCUMENT_WORDS.get(kind, kind.lower())


def _expelled(core: Core, fact: Expelled) -> Sequence[Effect]:
    """One peer's word ends this node only while no other one lets it in: a liar would end a whole mesh by it.

    A twin that somebody let in as well is found out by its rows, which nobody can forge.
    """
    said = f"{core.names.of(fact.by)} refuses this node: {fact.reason}"
    others = [core.names.of(peer) for peer in core.linked if peer != fact.by]
    if others:
        text = f"{said}, and {others[0]} does not; not believed without the row of a twin"
        return [Reject(fact.by, "expelled-without-proof", text)]
    return _leave_for_twin(core, said)


def _leave_for_twin(core: Core, reason: str) -> Sequence[Effect]:
    text = f"{reason}; this data directory seems to be a copy of a running node's, or an old state of it brought back"
    return [Note(f"node/{core.config.name}", text), Exit(EXIT_TWIN, text)]
