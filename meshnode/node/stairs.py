"""The stairs: this room's fact is that room's input. A table to read, and nothing else.

A fact without a line here is a mistake and stops the node: a fact nobody hears should not exist.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.agents.messages import AgentsStopped, InstanceChanged, SkillsOffered, SkillsWithdrawn
from meshnode.crdt.messages import DocumentChanged
from meshnode.gossip.messages import Doubted, MemberChanged, Publish, SoftChanged, Twinned
from meshnode.kernel.effects import Channel, Effect, Hangup, Note
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
from meshnode.node.inputs import LoadSampled
from meshnode.registry.offers import (
    AGENT_PREFIX,
    LOAD_KEY,
    SKILL_PREFIX,
    InstanceOffer,
    encode_instance,
    encode_skill,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meshnode.kernel.instant import Instant
    from meshnode.node.core import Core

EXIT_TWIN = 4
GONE_STATES = ("stopped",)


def climb(core: Core, fact: object, now: Instant) -> Sequence[Effect]:
    """Carry one fact to every room that cares, in the order of the table."""
    return STAIRS[type(fact)](core, fact, now)


def _started(core: Core, _fact: Started, now: Instant) -> list[Effect]:
    return [
        Note(f"node/{core.config.name}", f"started, boot {core.boot}"),
        *core.gossip.start(now),
        *core.agents.start(now),
    ]


def _peer_up(core: Core, fact: PeerUp, now: Instant) -> list[Effect]:
    admitted = core.trust.admit(fact.member)
    if isinstance(admitted, str) or admitted.node != fact.peer:
        # The certificate let it in, the admin's record does not: nothing it says may be applied.
        core.counters.add("member-refused")
        return [Hangup(fact.peer, "untrusted")]
    return [
        Note(f"node/{fact.name}", f"linked {'from' if fact.inbound else 'to'} {fact.address}"),
        *core.gossip.handle(fact, now),
        *core.documents.handle(fact, now),
        *core.switch.peer_up(fact.peer, now),
    ]


def _peer_down(core: Core, fact: PeerDown, now: Instant) -> list[Effect]:
    why = fact.bye or fact.how.value
    return [
        Note(f"node/{core.names.of(fact.peer)}", f"link lost: {why}"),
        *core.gossip.handle(fact, now),
        *core.documents.handle(fact, now),
        *core.switch.peer_down(fact.peer, now),
    ]


def _control(core: Core, fact: ControlReceived, now: Instant) -> Sequence[Effect]:
    match fact.channel:
        case Channel.GOSSIP:
            return core.gossip.handle(fact, now)
        case Channel.STATE:
            return core.documents.handle(fact, now)
        case Channel.CALL | Channel.ENROL:
            core.counters.add("control-without-room")
            return ()


def _soft(core: Core, fact: SoftChanged, _now: Instant) -> Sequence[Effect]:
    core.index.learn(fact.node, fact.key, fact.value)
    return ()


def _member(core: Core, fact: MemberChanged, _now: Instant) -> Sequence[Effect]:
    return [Note(f"node/{fact.name}", f"{fact.state.value}: {fact.reason}")] if fact.node != core.config.node else ()


def _instance(core: Core, fact: InstanceChanged, now: Instant) -> Sequence[Effect]:
    offer = InstanceOffer(fact.instance, fact.state, fact.reason, fact.restarts, fact.pid or 0)
    value = b"" if fact.state in GONE_STATES else encode_instance(offer)
    return core.gossip.handle(Publish(AGENT_PREFIX + fact.agent, value), now)


def _offered(core: Core, fact: SkillsOffered, now: Instant) -> Sequence[Effect]:
    core.switch.agent_up(fact.instance, fact.conn)
    agent = fact.instance.partition("/")[0]
    effects: list[Effect] = []
    for skill in fact.skills:
        value = encode_skill(agent, fact.instance, skill)
        effects += core.gossip.handle(Publish(SKILL_PREFIX + skill.name, value), now)
    return effects


def _withdrawn(core: Core, fact: SkillsWithdrawn, now: Instant) -> Sequence[Effect]:
    effects = list(core.switch.agent_down(fact.instance, now))
    agent = fact.instance.partition("/")[0]
    for candidate in core.index.candidates(agent, node=core.config.node, agent=agent):
        effects += core.gossip.handle(Publish(SKILL_PREFIX + candidate.skill, b""), now)
    return effects


def _agents_stopped(core: Core, _fact: AgentsStopped, now: Instant) -> list[Effect]:
    return [*core.hub.handle(Shutdown(), now), Exit(0, "asked to go down")]


def _document(core: Core, fact: DocumentChanged, _now: Instant) -> Sequence[Effect]:
    how = f"changed by {core.names.of(fact.by)}"
    return [Note(f"{fact.kind.lower()}/{fact.namespace}/{fact.name}", how)]


def _expelled(core: Core, fact: Expelled, _now: Instant) -> Sequence[Effect]:
    return _leave_for_twin(core, f"{core.names.of(fact.by)} refuses this node: {fact.reason}")


def _twinned(core: Core, fact: Twinned, _now: Instant) -> Sequence[Effect]:
    return _leave_for_twin(core, fact.reason)


def _leave_for_twin(core: Core, reason: str) -> Sequence[Effect]:
    text = f"{reason}; this data directory seems to be a copy of a running node's"
    return [Note(f"node/{core.config.name}", text), Exit(EXIT_TWIN, text)]


STAIRS: dict[type, Callable[[Core, object, Instant], Sequence[Effect]]] = {
    Started: _started,
    PeerUp: _peer_up,
    PeerDown: _peer_down,
    LinkRejected: lambda core, fact, now: core.gossip.handle(fact, now),
    ControlReceived: _control,
    FramesReceived: lambda core, fact, now: core.switch.from_peer(fact.peer, fact.frames, now),
    Expelled: _expelled,
    Twinned: _twinned,
    MemberChanged: _member,
    SoftChanged: _soft,
    InstanceChanged: _instance,
    SkillsOffered: _offered,
    SkillsWithdrawn: _withdrawn,
    AgentsStopped: _agents_stopped,
    DocumentChanged: _document,
    Reach: lambda core, fact, now: core.gossip.reach(fact.node, now),
    CallOverdue: lambda core, fact, now: core.gossip.handle(Doubted(fact.peer), now),
    LoadSampled: lambda core, fact, now: core.gossip.handle(Publish(LOAD_KEY, fact.vector), now),
}
