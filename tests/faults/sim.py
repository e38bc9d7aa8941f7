"""Planted faults of simulated nodes: each wraps a port, a disk, a core or the world, and one checker must notice."""

from collections.abc import Callable
from dataclasses import replace

import msgspec
from msgspec.structs import replace as replaced

from meshnode.agents.messages import StartProcess
from meshnode.checkpoints.rules import Rules
from meshnode.crdt import letters as state
from meshnode.crdt.envelope import VERSION, Envelope, actor_of, doc_id_of, seal
from meshnode.crdt.guard import Engine
from meshnode.crdt.store import StateStore
from meshnode.gossip import directory, letters
from meshnode.kernel.effects import Channel, Effect, Send
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.journal import Disk
from meshnode.messaging.switch import SwitchConfig
from meshnode.model.ids import DocId, NodeId
from meshnode.node.core import Core
from meshnode.node.effects import Reply
from meshnode.node.inputs import Input
from meshnode.scheduler.ports import NodeFacts
from meshnode.sim.network import Cut
from meshnode.sim.node import Adapt, SimNode
from meshnode.sim.world import World
from tests.faults.planted import ForgetfulDisk, drop_documents, forged_record
from tests.faults.rules import DoubleCount, DropMerge, LoseAck, NeverYields, StaleRestore

GULLIBLE = Adapt(ports=forged_record)
ONE_SIDED = Adapt(ports=drop_documents)
FORGETFUL = Adapt(disk=ForgetfulDisk)


class Hasty:
    """A disk that says a sync is done without having done it: only a rewrite of the file ever reaches the platter."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def __getattr__(self, name: str) -> object:
        return getattr(self._disk, name)

    def sync(self) -> None:
        pass


class Amnesiac:
    """A store that forgets one document after a while."""

    def __init__(self, store: StateStore, applied_max: int) -> None:
        self._store, self._left = store, applied_max
        self._forgotten: DocId | None = None

    def __contains__(self, doc: DocId) -> bool:
        return doc != self._forgotten and doc in self._store

    def __len__(self) -> int:
        return len(self._store)

    def __getattr__(self, name: str) -> object:
        return getattr(self._store, name)

    def apply(self, admitted: object) -> None:
        self._store.apply(admitted)
        self._left -= 1
        if self._left == 0:
            self._forgotten = next(iter(self._store.docs()))

    def missing(self, doc: DocId, hashes: object) -> list[bytes]:
        return list(hashes) if doc == self._forgotten else self._store.missing(doc, hashes)


class Wrapped:
    """A core with something in front of it. Everything not named is the core's own."""

    def __init__(self, core: Core) -> None:
        self._core = core

    def __getattr__(self, name: str) -> object:
        return getattr(self._core, name)


class Swallowing(Wrapped):
    """Loses the answer to every fifth command."""

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        effects = self._core.handle(event, now)
        return [e for e in effects if not isinstance(e, Reply) or e.command_no % 5]


class Stammering(Wrapped):
    """Gives some answers twice."""

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        effects = self._core.handle(event, now)
        return [*effects, *(e for e in effects if isinstance(e, Reply) and e.command_no % 5 == 0)]


class Late(Wrapped):
    """Wants to be woken half a second after it said."""

    def deadline(self) -> int | None:
        due = self._core.deadline()
        return None if due is None else due + SECOND // 2


class Restless(Wrapped):
    """After ten seconds its deadline stays where it was."""

    def deadline(self) -> int | None:
        due = self._core.deadline()
        return min(due, self._core.started_us + 10 * SECOND) if due is not None else None


class ByTheWall(Wrapped):
    """Its timers go by the wall clock: when that is set back they fire as much later."""

    _ahead_ms: int | None = None
    _back_us = 0

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        self._look(now)
        return self._core.handle(event, now)

    def _look(self, now: Instant) -> None:
        ahead_ms = now.wall_ms - now.mono_us // 1000
        if self._ahead_ms is None:
            self._ahead_ms = ahead_ms
        self._back_us = max(0, self._ahead_ms - ahead_ms) * 1000

    def deadline(self) -> int | None:
        due = self._core.deadline()
        return None if due is None else due + self._back_us


def boundless(core: Core) -> Core:
    """A switch without the limit the product has."""
    core.switch._admission.bound(SwitchConfig(calls_max=10**9))
    return core


class Leaky:
    """A verifier that remembers for ever what it was asked, within the node that asked."""

    def __init__(self, verifier: object) -> None:
        self._verifier = verifier
        self.asked: list[bytes] = []

    def verify(self, public_key: bytes, context: str, body: bytes, signature: bytes) -> bool:
        self.asked.append(body)
        return self._verifier.verify(public_key, context, body, signature)


class Idle(Wrapped):
    """Starts no process any more once the storm is on."""

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        return self._none_started(self._core.handle(event, now), now)

    def wake(self, now: Instant) -> list[Effect]:
        return self._none_started(self._core.wake(now), now)

    def _none_started(self, effects: list[Effect], now: Instant) -> list[Effect]:
        tired = now.mono_us - self._core.started_us > 10 * SECOND or self._core.boot > 1
        return [e for e in effects if not (tired and isinstance(e, StartProcess))]


SWALLOWING, STAMMERING, LATE, RESTLESS = (Adapt(core=kind) for kind in (Swallowing, Stammering, Late, Restless))
BOUNDLESS = Adapt(core=boundless)
HASTY = Adapt(disk=Hasty)
AMNESIAC = Adapt(ports=lambda ports: replace(ports, store=lambda: Amnesiac(ports.store(), 12)))
IDLE = Adapt(core=Idle)
BY_THE_WALL = Adapt(core=ByTheWall)


# -- the state of agents ----------------------------------------------------------------------------------------------


def _ruled(rules: Rules) -> Adapt:
    return Adapt(ports=lambda ports: replace(ports, state_rules=rules))


DOUBLE_COUNT, LOSE_ACK, STALE_RESTORE, DROP_MERGE = map(_ruled, (DoubleCount(), LoseAck(), StaleRestore(), DropMerge()))
TWO_OWNERS = Adapt(ports=lambda ports: replace(ports, scheduler_rules=NeverYields()))


# -- drained machines -------------------------------------------------------------------------------------------------


def _impatient(core: Core) -> Core:
    """Its processes answer before those they follow have let go."""
    core.scheduler.predecessor = lambda unit: None  # type: ignore[method-assign]
    return core


def _stubborn(core: Core) -> Core:
    """Placement never hears of a drain."""
    nodes, facts_of = core.places.nodes, core.places.facts_of

    def undrained(node: NodeId) -> NodeFacts | None:
        facts = facts_of(node)
        return replaced(facts, drained=False) if facts is not None else None

    core.places.nodes = lambda: [replaced(each, drained=False) for each in nodes()]  # type: ignore[method-assign]
    core.places.facts_of = undrained  # type: ignore[method-assign]
    return core


IMPATIENT, STUBBORN = Adapt(core=_impatient), Adapt(core=_stubborn)


# -- bad members ----------------------------------------------------------------------------------------------------


def lie(liar: SimNode, victim: SimNode) -> None:
    """To every peer: a row and a change in the victim's name, right in all but the signature, which is the liar's."""
    for peer in liar.core.hub.peers():
        for channel, letter in (
            (Channel.GOSSIP, _forged_row(liar, victim)),
            (Channel.STATE, _forged_change(liar, victim)),
        ):
            liar.perform(liar.core.hub.handle(Send(peer, channel, letter), liar.instant()))


def _forged_row(liar: SimNode, victim: SimNode) -> bytes:
    row = victim.core.gossip.row(victim.node)
    forged = msgspec.structs.replace(row, boot=row.boot + 50, facts=b'{"machine":"forged"}')
    body = msgspec.msgpack.encode(forged)
    signature = liar.plan.identity.signer.sign(directory.CONTEXT, body)
    return letters.encode(letters.Rows([letters.SignedRow(body, signature, victim.plan.identity.member)]))


def _forged_change(liar: SimNode, victim: SimNode) -> bytes:
    key, boot, stamp = victim.plan.identity.signer.public_key, victim.core.boot, liar.instant().wall_ms << 16
    doc = doc_id_of("AgentCluster", "default", "forged")
    fields = {
        "apiVersion": '"v1"', "spec.replicas": "666", "updated_hlc": str(stamp), "updated_by": f'"{victim.node.hex()}"',
    }  # fmt: skip
    change = Engine().draft(actor_of(key, doc, boot), fields)
    envelope = Envelope(VERSION, doc, "AgentCluster", "default", "forged", victim.node, boot, 1, stamp, [change])
    return state.encode(state.Envelopes([seal(envelope, liar.plan.identity.signer)], eager=True))


def copied_directory(world: World, original: int, copy: int) -> None:
    """The machine of number ``copy`` gets the identity of another one, as if its directory had been copied."""
    plan = replace(world[copy].plan, identity=world[original].plan.identity)
    world.nodes[copy] = SimNode(world, plan)
    world.network.join(world.nodes[copy], plan.address)


def secret_cut(world: World, inside: list[int], *, rejects: bool) -> Callable[[], None]:
    """A cut nobody has told the checkers about."""
    names = [world[number].name for number in inside]
    others = [node.name for node in world.nodes if node.name not in names]
    pairs = [pair for a in names for b in others for pair in ((a, b), (b, a))]

    def strike() -> None:
        world.network.cut(Cut(tuple(pairs), rejects=rejects), reset=rejects)
        world.network.cuts.clear()

    return strike
