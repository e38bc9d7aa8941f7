"""The whole node as one pure machine: it owns every room and knows none of their business.

One turn: an input enters by ``handle``, the room it belongs to answers with effects; facts climb the stairs to other
rooms until none is left; what remains is for the host. All bytes for one link in one turn leave as one ``Transmit``.
"""

import hashlib
from collections import deque
from collections.abc import Sequence
from dataclasses import replace

from meshnode.agents.life import Agents, AgentsConfig
from meshnode.checkpoints.checkpoints import Checkpoints, CheckpointsConfig
from meshnode.crdt.replica import Documents
from meshnode.deployments.bundles import Bundles
from meshnode.gossip.membership import Gossip, GossipConfig
from meshnode.gossip.messages import DialFailed
from meshnode.gossip.relays import direct
from meshnode.kernel import rng
from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Dial, Effect, Fact, Hangup, Note, Persist, Reject, Send
from meshnode.kernel.instant import Instant
from meshnode.kernel.reasons import DialFailure
from meshnode.kernel.records import Record, RecordKind
from meshnode.links.hub import Hub, HubConfig
from meshnode.links.messages import (
    CHANNELS,
    CloseLink,
    ControlReceived,
    FramesReceived,
    LinkBytes,
    LinkOpened,
    Post,
    Transmit,
)
from meshnode.links.tunnels import Tunnels
from meshnode.links.tunnelwire import RELAY_PORT, TunnelBytes, relay_at, relay_host
from meshnode.messaging.messages import CallEnded, CallItem
from meshnode.messaging.switch import Around, Switch, SwitchConfig
from meshnode.model.errors import Invalid
from meshnode.model.ids import AgentConn, AgentName, InstanceId, NodeId
from meshnode.node import finding
from meshnode.node.asking import replied
from meshnode.node.bans import Bans
from meshnode.node.beyond import Beyond
from meshnode.node.commands import Desk
from meshnode.node.commits import Commits
from meshnode.node.config import NodeConfig, NodePorts
from meshnode.node.cuts import Cuts
from meshnode.node.effects import Announce, Reply
from meshnode.node.entry import enter
from meshnode.node.facts import Started
from meshnode.node.inputs import Input, Measured, Stored, StoreFailed
from meshnode.node.intentions import Intentions
from meshnode.node.interests import InterestReader
from meshnode.node.journal_desk import around
from meshnode.node.journals import Journals
from meshnode.node.names import Names
from meshnode.node.offering import Offering
from meshnode.node.places import Places
from meshnode.node.policies import Policies
from meshnode.node.proven import ProvenTime
from meshnode.node.puts import Puts, passes
from meshnode.node.refusals import Refusals
from meshnode.node.rooms import HUB, SWITCH, Rooms
from meshnode.node.stairs import climb, lone_from
from meshnode.node.story import Story
from meshnode.node.succession import Succession
from meshnode.node.transmits import coalesced
from meshnode.node.unit_stairs import Home
from meshnode.node.units import units_of
from meshnode.node.watching import Watching
from meshnode.registry.index import Index
from meshnode.scheduler.scheduler import Scheduler, SchedulerConfig
from meshnode.security.enrolment import EnrolmentDesk
from meshnode.security.members import Members
from meshnode.security.renewal import Leaf, Renewal
from meshnode.security.roles import ADMIN, Roles
from meshnode.wire.bus import AgentFrames, ToAgent
from meshnode.wire.frame import Frame, Kind

# A turn that does not come to rest is our own mistake: facts must not chase each other.
SETTLE_MAX = 1_000_000
EARLY_MAX = 1_000  # what may wait for this boot; what people and agents of this machine ask waits beside it
# What one room tells another in a wake is done in the same wake; two that keep waking each other are stopped here.
ROUNDS_MAX = 8
_FOR_HOST = (ToAgent, TunnelBytes)  # what a lone frame may come to, beside another one


class Core:
    """One node. Construct, ``start``, then feed."""

    def __init__(self, config: NodeConfig, ports: NodePorts, restored: Sequence[Record], now: Instant) -> None:
        self.config, self.ports = config, ports
        self.boot = _last_boot(restored) + 1
        self.started_us = now.mono_us
        self.clock = ports.clock
        self.proven = ProvenTime(self.clock, restored, now)
        self.story = Story(restored, boot=self.boot, run=config.run_id)
        self.counters = Counters()
        self.hardware: bytes = b"{}"
        self.measured = Measured(0, 0, 0)
        self.strangers: dict[str, str] = {}  # address -> why there is no link
        self._build_rooms(restored)
        self.documents.begin(now)
        self.desk = Desk(self)
        self.linked: dict[NodeId, None] = {}  # peers whose link is up and whose member record fits
        self.commits = Commits()
        self.started = False
        self._early: deque[Input] = deque()
        self.rooms = Rooms((
            self.hub, self.gossip, self.puts, self.documents, self.intentions, self.agents, self.checkpoints,
            self.scheduler, self.switch, self.journals, self.bundles, self.offering, self.succession, self.commits,
            self.proven, self.watching, self.tunnels, self.renewal,
        ))  # fmt: skip

    def _build_rooms(self, restored: Sequence[Record]) -> None:
        config, ports = self.config, self.ports
        self.trust = Members(config.bundle, ports.verifier)
        admitted = self.trust.admit(config.member)
        if isinstance(admitted, str) or admitted.node != config.node:
            why = admitted if isinstance(admitted, str) else "it is about another node"
            raise Invalid(
                f"the member record of {config.name} does not fit its identity: {why}",
                next_step="restore the identity directory as it was, or join again with a new token",
            )
        self.authority = Roles(self.trust)
        self.names = Names(config.node, config.name, self.trust)
        self.refusals = Refusals(self.names.of, self.trust.conflicts)
        self.cuts = Cuts(self.region_of)
        links = HubConfig(
            mesh=config.mesh, node=config.node, name=config.name, region=config.region, boot=self.boot,
            run_id=config.run_id, member=config.member, codec=ports.codec,
        ).of_profile(config.profile)  # fmt: skip
        self.hub = Hub(links, rng.fork(config.seed, "links"))
        carries = replace(config.relay, carries=config.profile == "relay")
        self.tunnels = Tunnels(
            carries, me=config.node, ways=self.hub, is_client=self._is_client, name_of=self.names.of,
            addresses_of=self._addresses, secret=hashlib.sha256(config.seed + b"\0pipes").digest(),
        )  # fmt: skip
        self.hub.pass_on = self.tunnels.carriage.pass_on
        # A relay names itself in its row: whoever cannot be dialled looks for such rows.
        willing = ((relay_host(config.node), RELAY_PORT),) if carries.carries else ()
        self.endpoints = (*config.endpoints, *willing)
        self.gossip = Gossip(
            GossipConfig(
                node=config.node, name=config.name, region=config.region, boot=self.boot, member=config.member,
                endpoints=self.endpoints, seeds=config.seeds, profile=config.profile,
                whole_mesh_max=config.whole_mesh_max, ping_us=links.idle_ping_max_us,
            ),
            signer=ports.signer, verifier=ports.verifier, trust=self.trust, links=self.hub,
            rng=rng.fork(config.seed, "gossip"), restored=restored, improvable=self.hub.improvable,
        )  # fmt: skip
        self.gossip.keep_paces(self.hub.pace_us)
        self.documents = Documents(
            config.documents, signer=ports.signer, verifier=ports.verifier, authority=self.authority, trust=self.trust,
            boot=self.boot, restored=restored, rng=rng.fork(config.seed, "documents"), store=ports.store,
        )  # fmt: skip
        self.documents.attend(self.gossip)
        self.puts = Puts(self.documents)
        self.policies = Policies(self.documents, self.authority, self.trust)
        self.interests, self.bans = InterestReader(self), Bans(self)
        self.watching = Watching(self, restored)
        self._build_work(restored)

    def _build_work(self, restored: Sequence[Record]) -> None:
        """What the mesh is for: agents, their state, calls."""
        config, ports = self.config, self.ports
        self.homes: dict[InstanceId, Home] = {}
        self.agents = Agents(AgentsConfig(node=config.name), rng.fork(config.seed, "agents"), restored)
        self.checkpoints = Checkpoints(
            CheckpointsConfig(), me=config.node, boot=self.boot, liveness=self.gossip, links=self.hub,
            name_of=self.names.of, region_of=self.region_of, rules=ports.state_rules, restored=restored,
        )  # fmt: skip
        self.places = Places(self)
        self.intentions = Intentions(self)
        self.scheduler = Scheduler(
            SchedulerConfig(), me=config.node, name=config.name, nodes=self.places, copies=self.checkpoints,
            rules=ports.scheduler_rules, restored=restored,
        )  # fmt: skip
        self.index = Index(
            config.node, self.gossip, self.hub, heard_us=self.gossip.last_proof_us, attributes=self.places.attributes
        )
        self.beyond = Beyond(finding.around(self), self.gossip.catalogue)
        self.switch = Switch(
            SwitchConfig(),
            Around(
                me=config.node, name=config.name, call_prefix=config.run_id, index=self.index, links=self.hub,
                authority=self.authority, answers=self.checkpoints, name_of=self.names.of, slots_of=self.slots_of,
                beyond=self.beyond,
            ),
        )  # fmt: skip
        self.journals = Journals(self.story, around(self))
        self.bundles = Bundles(self.hub)
        self.succession = Succession(self)
        self.offering = Offering(
            lambda agent: units_of(self, agent),
            self.gossip.handle,
            me=config.node,
            large=lambda: not self.gossip.holds_all(),
        )
        self.enrolment = EnrolmentDesk(
            config.mesh, config.bundle_bytes, ports.admin, self.trust, ports.verifier, restored, clock=self.clock,
            banned=self.bans.refuses,
        )  # fmt: skip
        leaf = Leaf(config.certificate_sha256, config.certificate_from_ms, config.certificate_expires_ms)
        self.renewal = Renewal(
            leaf, self.clock, rng.fork(config.seed, "renewal"), name=config.name, enrollers=self._enrollers
        )

    # -- the machine ------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> list[Effect]:
        """Count this boot durably before anybody hears of it, then wake the rooms."""
        record = Record(RecordKind.BOOT, b"", self.boot.to_bytes(8))
        self.proven.start(now)
        self.renewal.start(now)
        return self._settle([Persist((record,), then=(Started(),))], now)

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        """Take one input. Until this boot is durable, all but the disk's word waits: the rooms have not begun."""
        if not self.started and not isinstance(event, Stored | StoreFailed):
            return self._wait(event)
        effects = self._take(event, now)
        while self.started and self._early:
            effects += self._take(self._early.popleft(), now)
        return coalesced(effects, self.ports.codec.join)

    def wake(self, now: Instant) -> list[Effect]:
        """Each room in turn, from the links up, and what it finds out reaches the others before they are woken. What
        becomes due meanwhile for a room that had its turn is done at once: the host has one turn of it, not two."""
        effects: list[Effect] = self._settle(self.puts.wake(now), now) if self.puts.owes else []
        for _ in range(ROUNDS_MAX):
            for room in self.rooms.due(now.mono_us):
                effects += self._settle(room.wake(now), now)
            due_us = self.rooms.deadline()
            if due_us is None or due_us > now.mono_us:
                break
        return coalesced(effects, self.ports.codec.join)

    def deadline(self) -> int | None:
        return self.rooms.deadline()

    def is_due(self, now: Instant) -> bool:
        return self.rooms.are_due(now.mono_us)

    def slots_of(self, agent: str) -> int:
        """How many instances of an agent the mesh wants; 0 = none."""
        return self.intentions.replicas(AgentName(agent))

    def _is_client(self, node: NodeId) -> bool:
        """It says that it is reached through this node."""
        row = self.gossip.row(node)
        return row is not None and (relay_host(self.config.node), RELAY_PORT) in row.endpoints

    def _enrollers(self) -> list[tuple[str, int]]:
        """Where somebody may renew this node's certificate: admins admit, and so may whoever stands at a seed."""
        admins = [member.node for member in self.trust.all() if ADMIN in member.roles]
        others = [node for node in admins if node != self.config.node]
        return [*(address for node in others for address in self._addresses(node)), *self.config.seeds]

    def _addresses(self, node: NodeId) -> list[tuple[str, int]]:
        """Where its row says that it can be dialled."""
        row = self.gossip.row(node)
        return [] if row is None else direct(row.endpoints)

    def region_of(self, node: NodeId) -> str:
        member = self.trust.member(node)
        return member.region if member is not None else ""

    def _wait(self, event: Input) -> list[Effect]:
        if isinstance(event, LinkOpened | LinkBytes) and len(self._early) >= EARLY_MAX:
            return [CloseLink(event.link, abort=True)]
        self._early.append(event)
        return []

    # -- one turn ---------------------------------------------------------------------------------------------------

    def _take(self, event: Input, now: Instant) -> list[Effect]:
        made = self._settle(self.puts.wake(now), now) if self.puts.owes and not passes(event) else []
        alone = self._alone(event, now)
        if alone is None:
            self.rooms.touch(event)
            alone = enter(self, event, now)
        return made + self._settle(alone, now)

    def _alone(self, event: Input, now: Instant) -> Sequence[Effect] | None:
        """What a frame that comes alone, from a peer or an agent, comes to; ``None``: it is not, or not that simple."""
        if type(event) is AgentFrames:
            frames = event.frames
            return self.lone_for_switch(event.conn, frames[0], now) if len(frames) == 1 else None
        heard = self.hub.straight.hear(event.link, event.data, now) if type(event) is LinkBytes else None
        if heard is None:
            return None
        peer, frame, due_us = heard
        if frame.kind is Kind.CONTROL:  # the links are asked when they are due: letters do not come by the thousand
            self.rooms.touch(event)
            return (ControlReceived(peer, CHANNELS[frame.stream], frame.payload),)
        self.rooms.sooner(HUB, due_us)
        return lone_from(self, peer, frame, now)

    def lone_for_switch(self, source: NodeId | AgentConn, frame: Frame, now: Instant) -> Sequence[Effect] | None:
        """A frame that is all that is said in a turn; ``None``: nothing was done."""
        said = self.switch.lone(source, frame, now)
        if said is None:
            return None
        self.rooms.sooner(SWITCH, self.switch.look_us)
        return (said,)

    def _straight(self, effect: Effect, now: Instant) -> Effect | None:
        """What a frame that is all that comes of a turn means for the host; ``None``: there is more to do."""
        if self.gossip.unplanned or not self.hub.straight.at_rest:
            return None
        if type(effect) is Post and len(effect.frames) == 1:
            self.rooms.later(HUB)
            return self.hub.straight.write(effect.peer, effect.frames[0], now)
        return effect if type(effect) in _FOR_HOST else None

    def _settle(self, first: Sequence[Effect], now: Instant) -> list[Effect]:
        """Carry facts until none is left; what is for the host comes out in order, what links have to write last."""
        alone = self._straight(first[0], now) if len(first) == 1 else None
        if alone is not None:
            return [alone]
        waiting = list(reversed(first))
        out: list[Effect] = []
        for _ in range(SETTLE_MAX):
            if not waiting:
                waiting = self.gossip.flush(now)[::-1]
            if not waiting:
                out += self.hub.flush(now)
                return out
            effect = waiting.pop()
            more = self._carry(effect, now)
            if more is None:
                out.append(effect)
            elif more:
                waiting.extend(reversed(more))
        raise AssertionError("a turn of the core does not come to rest")

    def _carry(self, effect: Effect, now: Instant) -> Sequence[Effect] | None:
        """What an effect means inside the node; ``None``: it is for the host."""
        self.rooms.touch(effect)
        match effect:
            case Post() | Send() | Hangup():
                return self.hub.take(effect, now)
            case ToAgent() | Transmit():
                return None
            case FramesReceived() | ControlReceived():
                return climb(self, effect, now)
            case CallEnded():
                return self.desk.call_ended(effect, now)
            case Dial(dial_no, expect=node) if self.bans.bars(node, now):
                failed = DialFailed(dial_no, DialFailure.UNTRUSTED)
                self.rooms.touch(failed)
                return self.gossip.handle(failed, now)
            case Dial(host=host) if relay_at(host) is not None:
                return self.tunnels.handle(effect, now)
            case Persist(records, then, lazily):
                return (self.commits.store(records, then, lazily=lazily),)
            case Note(subject, text, idly, lazily):
                return self._note(subject, text, now, idly=idly, lazily=lazily)
            case Reject():
                return self._rejected(effect, now)
            case CallItem():
                return self.desk.call_item(effect)
            case Reply(command_no, view) if command_no < 0:
                return replied(self, -command_no, view, now)
            case Fact():
                return climb(self, effect, now)
            case _:
                return None

    def _note(self, subject: str, text: str, now: Instant, *, idly: bool = False, lazily: bool = False) -> list[Effect]:
        record, event = self.story.add(subject, text, now)
        store = self.commits.store((record,), idly=idly, lazily=lazily)
        self.story.storing(store.batch_no)
        return [store, Announce(self.story.last_number, event)]

    def _rejected(self, effect: Reject, now: Instant) -> list[Effect]:
        """Counted always, told rarely: a flood of junk must not become a flood of writes."""
        self.counters.add(f"rejected-{effect.reason}")
        told = self.refusals.refused(effect, now)
        return [each for subject, text in told for each in self._note(subject, text, now)]


def _last_boot(restored: Sequence[Record]) -> int:
    return max((int.from_bytes(r.body) for r in restored if r.kind is RecordKind.BOOT), default=0)
