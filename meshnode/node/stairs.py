"""The stairs: this room's fact is that room's input. A table to read, and nothing else.

A fact without a line here is a mistake and stops the node: a fact nobody hears should not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.agents.messages import AgentsStopped, InstanceChanged, InstanceState, SkillsOffered, SkillsWithdrawn
from meshnode.crdt.messages import DocumentChanged, EnvelopesKept
from meshnode.gossip.messages import Doubted, MemberChanged, Publish, SoftChanged, Twinned
from meshnode.kernel.effects import Channel, Effect, Hangup, Note, Reject
from meshnode.kernel.reasons import Bye
from meshnode.links.messages import (
    ControlReceived,
    Expelled,
    FramesReceived,
    LinkRejected,
    PeerDown,
    PeerUp,
    Shutdown,
)
from meshnode.messaging.messages import CallOverdue, Reach
from meshnode.node.effects import Exit
from meshnode.node.facts import Started
from meshnode.registry.offers import (
    AGENT_PREFIX,
    SKILL_PREFIX,
    InstanceOffer,
    encode_instance,
    encode_skill,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.kernel.instant import Instant
    from meshnode.node.core import Core

EXIT_TWIN = 4
# What a kind of document is called in ``why``.
DOCUMENT_WORDS = {"AgentCluster": "cluster"}
GONE_STATES = ("stopped",)
_AT_WORK = ("running", "stopping")


def climb(core: Core, fact: Effect, now: Instant) -> Sequence[Effect]:
    """Carry one fact to every room that cares."""
    match fact:
        case Started():
            return _started(core, now)
        case PeerUp():
            return _peer_up(core, fact, now)
        case PeerDown():
            return _peer_down(core, fact, now)
        case LinkRejected():
            return core.gossip.handle(fact, now)
        case ControlReceived():
            return _control(core, fact, now)
        case FramesReceived():
            return _frames(core, fact, now)
        case Expelled(by, reason):
            return _leave_for_twin(core, f"{core.names.of(by)} refuses this node: {reason}")
        case Twinned(reason):
            return _leave_for_twin(core, reason)
        case MemberChanged():
            return _member(core, fact)
        case SoftChanged(node, key, value):
            core.index.learn(node, key, value)
            return ()
        case InstanceChanged():
            return _instance(core, fact, now)
        case SkillsOffered():
            return _offered(core, fact, now)
        case SkillsWithdrawn():
            return _withdrawn(core, fact, now)
        case AgentsStopped():
            return [*core.switch.close(now), *core.hub.handle(Shutdown(), now), Exit(0, "asked to go down")]
        case DocumentChanged():
            return _document(core, fact)
        case EnvelopesKept():
            return core.documents.handle(fact, now)
        case Reach(node):
            return core.gossip.reach(node, now)
        case CallOverdue(peer):
            return core.gossip.handle(Doubted(peer), now)
        case _:
            raise AssertionError(f"a fact nobody hears: {fact}")


def _started(core: Core, now: Instant) -> list[Effect]:
    core.started = True
    return [
        Note(f"node/{core.config.name}", f"started, boot {core.boot}"),
        *(Note(f"node/{core.config.name}", note) for note in core.config.notes),
        *core.gossip.start(now),
        *core.agents.start(now),
    ]


def _peer_up(core: Core, fact: PeerUp, now: Instant) -> list[Effect]:
    admitted = core.trust.admit(fact.member)
    if isinstance(admitted, str) or admitted.node != fact.peer:
        # The certificate let it in, the admin's record does not: nothing it says may be applied.
        why = admitted if isinstance(admitted, str) else "of-another-node"
        core.counters.add("member-refused")
        return [Reject(fact.peer, f"member-{why}"), Hangup(fact.peer, Bye.UNTRUSTED)]
    core.linked[fact.peer] = None
    return [
        Note(f"node/{admitted.name}", f"linked {'from' if fact.inbound else 'to'} {fact.address}"),
        *core.gossip.handle(fact, now),
        *core.documents.handle(fact, now),
        *core.switch.peer_up(fact.peer, fact.boot, now),
    ]


def _peer_down(core: Core, fact: PeerDown, now: Instant) -> list[Effect]:
    if core.linked.pop(fact.peer, False) is False:
        return []  # it was refused: for the rooms it never was there
    why = fact.bye or fact.how.value
    return [
        Note(f"node/{core.names.of(fact.peer)}", f"link lost: {why}"),
        *core.gossip.handle(fact, now),
        *core.documents.handle(fact, now),
        *core.switch.peer_down(fact.peer, now),
    ]


def _frames(core: Core, fact: FramesReceived, now: Instant) -> Sequence[Effect]:
    if fact.peer not in core.linked:
        core.counters.add("unadmitted", len(fact.frames))
        return ()
    return core.switch.from_peer(fact.peer, fact.frames, now)


def _control(core: Core, fact: ControlReceived, now: Instant) -> Sequence[Effect]:
    if fact.peer not in core.linked:
        core.counters.add("unadmitted")
        return ()
    match fact.channel:
        case Channel.GOSSIP:
            return core.gossip.handle(fact, now)
        case Channel.STATE:
            return core.documents.handle(fact, now)
        case Channel.CALL | Channel.ENROL:
            core.counters.add("control-without-room")
            return ()


def _member(core: Core, fact: MemberChanged) -> Sequence[Effect]:
    return [Note(f"node/{fact.name}", f"{fact.state.value}: {fact.reason}")] if fact.node != core.config.node else ()


def _instance(core: Core, fact: InstanceChanged, now: Instant) -> Sequence[Effect]:
    offer = InstanceOffer(fact.instance, fact.state, fact.reason, fact.restarts, fact.pid or 0)
    value = b"" if fact.state in GONE_STATES else encode_instance(offer)
    effects: list[Effect] = []
    if fact.state not in _AT_WORK:
        effects += core.switch.agent_down(fact.instance, now)
    return [*effects, *core.gossip.handle(Publish(AGENT_PREFIX + fact.agent, value), now)]


def _offered(core: Core, fact: SkillsOffered, now: Instant) -> Sequence[Effect]:
    core.switch.agent_up(fact.instance, fact.conn)
    agent = fact.instance.partition("/")[0]
    effects: list[Effect] = []
    for skill in fact.skills:
        value = encode_skill(agent, fact.instance, skill)
        effects += core.gossip.handle(Publish(SKILL_PREFIX + skill.name, value), now)
    return effects


def _withdrawn(core: Core, fact: SkillsWithdrawn, now: Instant) -> Sequence[Effect]:
    """An agent asked to stop may still answer what it works on; one that is gone may not."""
    agent = fact.instance.partition("/")[0]
    info = core.agents.instance(agent)
    effects: list[Effect] = []
    if info is not None and info.state is InstanceState.STOPPING:
        core.switch.agent_closing(fact.instance)
    else:
        effects += core.switch.agent_down(fact.instance, now)
    for skill in core.index.skills_of(core.config.node, agent):
        effects += core.gossip.handle(Publish(SKILL_PREFIX + skill, _other_offer(core, agent, skill)), now)
    return effects


def _other_offer(core: Core, agent: str, wanted: str) -> bytes:
    """The same skill of another agent of this node, which stood in the shadow of the one withdrawn."""
    for info in core.agents.instances():
        if info.agent != agent:
            for skill in info.skills:
                if skill.name == wanted:
                    return encode_skill(info.agent, info.instance, skill)
    return b""


def _document(core: Core, fact: DocumentChanged) -> Sequence[Effect]:
    kind = DOCUMENT_WORDS.get(fact.kind, fact.kind.lower())
    return [Note(f"{kind}/{fact.namespace}/{fact.name}", f"changed by {core.names.of(fact.by)}")]


def _leave_for_twin(core: Core, reason: str) -> Sequence[Effect]:
    text = f"{reason}; this data directory seems to be a copy of a running node's, or an old state of it brought back"
    return [Note(f"node/{core.config.name}", text), Exit(EXIT_TWIN, text)]
