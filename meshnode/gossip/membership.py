"""The gossip room as one machine: who is in the mesh, who can be reached, and what each node says about itself.

It composes the small machines of this package (``parts.py``) and carries what one finds out to the others: letters by
``mailroom.py``, rows and rumours by ``rolls.py``, links by ``doorway.py``. It decides nothing itself.
"""

from collections import deque
from collections.abc import Callable, Iterable, Sequence
from typing import assert_never

import msgspec

from meshnode.gossip.alerts import Raise
from meshnode.gossip.catalogue import Catalogue
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.contacts import Address
from meshnode.gossip.detector import Recovered, Redial
from meshnode.gossip.directory import FACTS_BYTES_MAX, Entry, Row
from meshnode.gossip.doorway import Doorway
from meshnode.gossip.dues import ALL, BROADCAST, DETECTOR, FORGET, QUIET, SOFT, TOUCHES, Dues, touched
from meshnode.gossip.ground import Ground
from meshnode.gossip.letters import Push, post
from meshnode.gossip.mailroom import Mailroom
from meshnode.gossip.messages import (
    Describe,
    DialFailed,
    Discovered,
    Disturbed,
    Doubted,
    Leave,
    MemberChanged,
    MemberState,
    Publish,
    Reached,
    SoftChanged,
)
from meshnode.gossip.parts import Parts, Ports
from meshnode.gossip.relays import direct
from meshnode.gossip.rolls import Rolls
from meshnode.gossip.silence import ABSENT_US
from meshnode.gossip.verdict import Evidence
from meshnode.kernel.decoding import JUNK
from meshnode.kernel.effects import Channel, Effect, Note, Reject, Send
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.ports import LinkStats, Signer, Trust, Verifier
from meshnode.kernel.records import Record
from meshnode.kernel.rng import Random
from meshnode.links.messages import ControlReceived, LinkRejected, PeerDown, PeerUp
from meshnode.model.ids import NodeId

__all__ = ["Gossip", "GossipConfig"]

AGAIN_US = 200 * MS  # the network changed: all who are looked for are dialled within this time
FORGET_CHECK_US = 3600 * SECOND

Input = (
    PeerUp | PeerDown | LinkRejected | ControlReceived | DialFailed | Reached | Discovered | Publish | Describe
    | Doubted | Disturbed | Leave
)  # fmt: skip


class Gossip:
    """One node's part in the mesh. Implements ``kernel.ports.Liveness``."""

    def __init__(
        self,
        config: GossipConfig,
        *,
        signer: Signer,
        verifier: Verifier,
        trust: Trust,
        links: LinkStats,
        rng: Random,
        restored: Sequence[Record] = (),
        ground: Ground | None = None,
        improvable: Callable[[NodeId], bool] = lambda _node: False,
    ) -> None:
        """``ground``: rows known from the start, shared with others; a daemon has none. ``improvable``: the link to
        a node should be another one.
        """
        ports = Ports(signer=signer, verifier=verifier, trust=trust, links=links)
        self.config = config
        self._restored = [record for record in restored if record.key != config.node]
        self._parts = Parts(config, ports, rng, self._restored, ground, improvable)
        self.counters = self._parts.counters
        self._rolls = Rolls(self._parts)
        self._mailroom = Mailroom(self._parts, self._rolls)
        self._doorway = Doorway(self._parts)
        self._forget_due_us: int | None = None
        self._started_us = self._awake_us = 0
        self._looked_us = -1  # when it was seen last that nothing was due long ago
        self._unplanned = False
        self._dues = Dues(self._questions())

    def keep_paces(self, pace_us: Callable[[NodeId], int]) -> None:
        """Whom to ask how long the link to a peer is quiet at most, by what its ends agreed on; 0 = unknown."""
        self._parts.detector.pace_us = pace_us

    # -- the machine --------------------------------------------------------------------------------------------------

    def start(self, now: Instant) -> list[Effect]:
        """Announce this boot, and look for everybody ever known."""
        parts = self._parts
        effects = self._rolls.restored(self._restored, now)
        self._restored = []
        effects += self._rolls.begin(now)
        for address in (*self.config.seeds, *parts.contacts.restored()):
            parts.contacts.place(address, now)
        parts.repairs.start(now)
        parts.envoys.start(now)
        parts.asking.start(now)
        self._started_us, self._forget_due_us = now.mono_us, now.mono_us + FORGET_CHECK_US
        return self._finish(effects, now)

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        """All that an input means."""
        return [*self.take(event, now), *self.flush(now)]

    def take(self, event: Input, now: Instant) -> list[Effect]:
        """One input of several: ``flush`` must follow in the same turn."""
        self._awake(now)
        effects = self._enter(event, now)
        tag = event.body[1] if type(event) is ControlReceived and len(event.body) > 1 else None
        known = None if tag is None or self._parts.planning.noted else TOUCHES.get(tag)
        return self._carried(effects, now, touched(known, effects))

    @property
    def unplanned(self) -> bool:
        """``flush`` has something to do."""
        return self._unplanned

    def flush(self, now: Instant) -> list[Effect]:
        """Plan links and save rows, if anything since the last time may make a difference: the end of every turn."""
        if not self._unplanned:
            return []
        self._unplanned = False
        parts, out = self._parts, list[Effect]()
        for effect in (*self._rolls.publish(parts.planning.readdressed(now), now), *parts.planning.wake(now)):
            self._count(effect, now)
            out.append(effect)
        if not parts.me.left:
            settled, overlay = parts.planning.settled, parts.overlay
            out += parts.contacts.wake(now, lonely=overlay.lonely, linked=settled, calm=overlay.full)
        self._dues.touch(ALL)
        return [*out, *parts.saving.take(now, last=parts.me.left)]

    def wake(self, now: Instant) -> list[Effect]:
        self._awake(now)
        parts, due = self._parts, self._dues.at(now.mono_us)
        if not due & ~QUIET:
            effects = parts.detector.wake(now) if due & DETECTOR else []
            effects += parts.broadcast.wake(now) if due & BROADCAST else []
            effects += self._expired(parts.soft.wake(now), now) if due & SOFT else []
            return self._finish(effects, now, touched(due, effects))
        effects = [*parts.detector.wake(now), *parts.broadcast.wake(now), *parts.overlay.wake(now)]
        effects += self._expired(parts.soft.wake(now), now)
        effects += self._rolls.wake(now)
        effects += parts.repairs.wake(() if parts.intake.busy else parts.overlay.peers(), now)
        for rumour in parts.catalogue.wake(now):
            effects += parts.broadcast.spread(rumour, now)
        for node in parts.envoys.wake(now):
            effects += self._reach(node, now)
        effects += parts.trying.wake(now)
        asked, news = parts.asking.wake(now)
        effects += [*asked, *(parts.found_out(now) if news else ())]
        if self._forget_due_us is not None and self._forget_due_us <= now.mono_us:
            self._forget_due_us = now.mono_us + FORGET_CHECK_US
            self._forget(now)
        return self._finish(effects, now)

    def deadline(self) -> int | None:
        return self._dues.deadline()

    def _awake(self, now: Instant) -> None:
        """Something was due long ago: this machine was away, and nobody tells it so but its own timers."""
        if now.mono_us == self._looked_us:
            return
        self._looked_us = now.mono_us
        due_us = self._dues.deadline()
        late_us = 0 if due_us is None else now.mono_us - max(due_us, self._awake_us)
        if late_us >= ABSENT_US:
            self._awake_us = now.mono_us
            self._parts.detector.woken(late_us, now)
            self._dues.touch(ALL)

    def _questions(self) -> list[Callable[[], int | None]]:
        """Of the parts, in the order of ``dues.py``. Who says goodbye dials nobody."""
        parts = self._parts
        return [
            parts.detector.deadline, parts.broadcast.deadline, lambda: earliest(*parts.overlay.deadlines()),
            parts.soft.deadline, self._rolls.deadline, parts.repairs.deadline, parts.catalogue.deadline,
            parts.envoys.deadline, lambda: None if parts.me.left else parts.contacts.deadline(),
            parts.planning.deadline, lambda: earliest(self._forget_due_us, parts.saving.deadline()),
            lambda: None if parts.me.left else earliest(parts.asking.deadline(), parts.trying.deadline()),
        ]  # fmt: skip

    def reach(self, node: NodeId, now: Instant) -> list[Effect]:
        """Make or keep a link for a call; one made for calls alone idles out."""
        return self._finish(self._reach(node, now), now)

    def renew_links(self, now: Instant) -> list[Effect]:
        """This node has a new certificate: each link is dialled once more, where that is possible, and taken over."""
        for node in self._parts.overlay.peers():
            entry = self._parts.directory.entry(node)
            if entry is not None:
                self._parts.contacts.upgrades.watch(node, direct(entry.row.endpoints), now)
        return self._finish([], now)

    # -- questions ----------------------------------------------------------------------------------------------------

    def members(self) -> Sequence[NodeId]:
        return self._parts.directory.members()

    def known(self) -> Sequence[NodeId]:
        """For people: the members, and those who left and are not forgotten yet."""
        return self._parts.directory.known()

    def reachable(self, node: NodeId) -> bool:
        return self.state(node) is MemberState.READY

    def is_neighbour(self, node: NodeId) -> bool:
        """This node keeps a link to it on its own account, not for calls alone."""
        return self._parts.overlay.is_neighbour(node)

    def row(self, node: NodeId) -> Row | None:
        entry = self._parts.directory.entry(node)
        return entry.row if entry else None

    def entry(self, node: NodeId) -> Entry | None:
        """A row as it is held: for whoever needs its order or its bytes alone, since ``row`` decodes it."""
        return self._parts.directory.entry(node)

    def self_row(self) -> Row:
        row = self.row(self.config.node)
        assert row is not None, "asked before start"
        return row

    def state(self, node: NodeId) -> MemberState:
        if node == self.config.node:
            return MemberState.LEFT if self._parts.me.left else MemberState.READY
        return self._parts.detector.state(node) or MemberState.UNREACHABLE

    def reason(self, node: NodeId) -> str:
        if node == self.config.node:
            return "this node"
        subject = self._parts.detector.subject(node)
        return subject.reason if subject else "not in the directory"

    def heard_by_others(self, node: NodeId) -> bool:
        """This node hears nothing of it, and another one says that it does."""
        subject = self._parts.detector.subject(node)
        return subject is not None and subject.helper is not None

    def last_proof_us(self, node: NodeId) -> int | None:
        proof_us = self._parts.detector.proof_us(node)
        return proof_us if proof_us is not None else self._parts.soft.proof_us(node)

    def observers(self, node: NodeId) -> Sequence[NodeId]:
        """Known nodes whose word counts when ``node`` is lost."""
        return self._parts.detector.observers(node)

    def undialable(self) -> str:
        """That nobody can dial this node, and who tried; empty as long as nobody says so."""
        return self._parts.undialable()

    def votes(self, node: NodeId) -> dict[NodeId, Evidence]:
        """What speaks against ``node`` now, by observer."""
        subject = self._parts.detector.subject(node)
        return dict(subject.all_votes(self.config.node)) if subject else {}

    def soft(self, node: NodeId) -> dict[str, tuple[bytes, int, int]]:
        """(value, version, heard_us) by key."""
        return self._parts.soft.facts(node)

    def near(self, node: NodeId) -> bool:
        """What concerns the region of ``node`` (load, skills) is held here."""
        return self._parts.soft.scope.near(node)

    def in_region(self, region: str) -> Sequence[NodeId]:
        """The members of a region, sorted. To be read at once, not kept."""
        return self._parts.directory.in_region(region)

    def holds_all(self) -> bool:
        """All soft facts of the mesh are held here, not those of this region alone."""
        scope = self._parts.soft.scope
        return scope.small or scope.whole

    @property
    def catalogue(self) -> Catalogue:
        """What there is in other regions."""
        return self._parts.catalogue

    def find_by_name(self, name: str) -> NodeId | None:
        return self._parts.directory.named(name)

    def directory_root(self) -> bytes:
        return self._parts.directory.rows.root()

    def soft_root(self) -> bytes:
        return self._parts.soft.index.root()

    def _reach(self, node: NodeId, now: Instant) -> list[Effect]:
        entry = self._parts.directory.entry(node)
        if entry is None or node == self.config.node or self._parts.overlay.reach(node, now):
            return []
        return self._parts.contacts.dial_now(node, entry.row.endpoints, now)

    # -- inputs -------------------------------------------------------------------------------------------------------

    def _enter(self, event: Input, now: Instant) -> list[Effect]:
        match event:
            case ControlReceived(peer, channel, body):
                assert channel is Channel.GOSSIP
                return self._mailroom.read(peer, body, now)
            case PeerUp() | PeerDown() | LinkRejected() | DialFailed() | Reached():
                return self._doorway.handle(event, now)
            case Discovered(host, port):
                self._parts.contacts.place((host, port), now)
                return []
            case Publish(key, value):
                return self._parts.soft.publish(key, value, now)
            case Describe(facts, endpoints):
                return self._describe(facts, endpoints, now)
            case Doubted(peer):
                return self._parts.detector.doubt(peer, now)
            case Disturbed(for_us):
                self._parts.contacts.hurry_all(now, AGAIN_US)
                return self._parts.detector.disturbed(for_us, now)
            case Leave():
                rumour = Push(self._rolls.hold_own(self._parts.me.leave(now)))
                return [post(peer, rumour) for peer in self._parts.overlay.peers()]
            case _:
                assert_never(event)

    def _describe(self, facts: bytes, endpoints: tuple[Address, ...], now: Instant) -> list[Effect]:
        fault = f"{len(facts)} bytes, the limit is {FACTS_BYTES_MAX}" if len(facts) > FACTS_BYTES_MAX else ""
        try:
            msgspec.json.decode(facts, type=dict[str, msgspec.Raw])
        except JUNK:
            fault = "they are no JSON object"
        if fault:
            return [Note(f"node/{self.config.name}", f"own facts not published: {fault}")]
        signed = self._parts.me.describe(facts, self._parts.relays.endpoints(endpoints), now)
        self._parts.contacts.moved()
        return self._rolls.publish(signed, now)

    # -- what parts find out for each other ---------------------------------------------------------------------------

    def _expired(self, effects: Iterable[Effect], now: Instant) -> list[Effect]:
        """A node all of whose facts ran out has not been heard of for long."""
        out: list[Effect] = []
        for effect in effects:
            out.append(effect)
            if isinstance(effect, SoftChanged) and self._parts.soft.silent(effect.node):
                out += self._parts.detector.expired(effect.node, now)
        return out

    def _finish(self, first: Sequence[Effect], now: Instant, parts: int = ALL) -> list[Effect]:
        return [*self._carried(first, now, parts), *self.flush(now)]

    def _carried(self, first: Sequence[Effect], now: Instant, parts: int) -> list[Effect]:
        """Carry out what stays inside. ``parts``: what it touched."""
        self._dues.touch(parts)
        if parts != ALL:
            for effect in first:
                self._count(effect, now)
            return [*first, *self._parts.saving.take(now)] if parts & FORGET else list(first)
        self._unplanned = True
        queue, out = deque(first), list[Effect]()
        while queue:
            effect = queue.popleft()
            inside = self._inside(effect, now)
            if inside is None:
                self._count(effect, now)
                out.append(effect)
            else:
                queue.extendleft(reversed(inside))
        return out

    def _inside(self, effect: Effect, now: Instant) -> list[Effect] | None:
        match effect:
            case Raise():
                return self._rolls.raise_alert(effect, now)
            case Redial(node):
                entry = self._parts.directory.entry(node)
                return self._parts.contacts.dial_now(node, entry.row.endpoints, now) if entry else []
            case Recovered(node):
                return self._doorway.recovered(node, now)
            case MemberChanged(node):
                self._parts.planning.note(node, now)
                return None
            case _:
                return None

    def _count(self, effect: Effect, now: Instant) -> None:
        if isinstance(effect, Send):
            self._parts.budgets.sent(effect.peer, effect.body, now.mono_us)
            self.counters.add("letters-sent")
            self.counters.add("bytes-sent", len(effect.body))
        elif isinstance(effect, Reject):
            self.counters.add(effect.reason)

    def _forget(self, now: Instant) -> None:
        """Who gave no sign for so long is a tombstone until it signs something newer."""
        parts = self._parts
        for subject in list(parts.detector.notable()):
            silent_us = now.mono_us - max(subject.proof_us or 0, subject.changed_us, self._started_us)
            if subject.node in parts.directory.rows and not subject.linked and silent_us > self.config.forget_after_us:
                entry = parts.directory.entry(subject.node)
                for address in entry.row.endpoints if entry is not None else ():
                    parts.contacts.place(address, now)  # who was cut off as long has forgotten us, too
                parts.directory.forget(subject.node)
                parts.detector.forget(subject.node)
                parts.planning.forget(subject.node)
