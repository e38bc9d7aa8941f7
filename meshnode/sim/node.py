"""One simulated machine with the daemon on it: the same Core, other hands."""

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import msgspec

from meshnode.crdt.store import AutomergeStore, StateStore
from meshnode.kernel import rng
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.journal import Header, JournalUnreadable, recover
from meshnode.kernel.ports import Verifier
from meshnode.kernel.records import RecordKind
from meshnode.links.hello import Ping, frame_of
from meshnode.links.messages import LinkBytes
from meshnode.model.commands import AnyCommand, Shutdown
from meshnode.model.ids import LinkId, NodeId, NodeName, Region
from meshnode.node.config import NodeConfig, NodePorts
from meshnode.node.core import Core
from meshnode.node.effects import Exit
from meshnode.node.inputs import CommandGiven, HardwareProbed, Input, Measured, Slept
from meshnode.security.clock import MeshClock
from meshnode.sim.agents import SimProcesses
from meshnode.sim.blobs import SimBlobs
from meshnode.sim.clocks import SimClock
from meshnode.sim.disk import SimDisk
from meshnode.sim.hands import Hands
from meshnode.sim.journal import SimJournal
from meshnode.sim.network import Network
from meshnode.sim.older import Older, older_kinds
from meshnode.sim.places import City
from meshnode.sim.plan import Adapt, Plan
from meshnode.sim.trace import Trace
from meshnode.sim.trust import ISSUED_MS, MESH, make_identity, trusted_bundle
from meshnode.sim.watching import Audience
from meshnode.wire.codec import Codec
from meshnode.wire.frame import Kind, encode

__all__ = ["Adapt", "Plan", "SimNode"]

# As host/loop.py: standing still longer than this voids what silence seemed to prove about peers.
LAG_US = 700 * MS
LAG_REST = 10  # times the length of a lag pass before another one is told
START_AGAIN_US = 5 * SECOND
_PING = encode(frame_of(Kind.PING, Ping()))
# A stop shorter than this must not make anybody look dead.
NOTICED_US = 1 * SECOND


class Surroundings(Protocol):
    """What a node needs of the world around it (see world.py)."""

    seed: bytes
    network: Network
    trace: Trace
    audience: Audience
    verifier: Verifier
    codec: Codec

    @property
    def now_us(self) -> int: ...

    def at(self, t_us: int, act: Callable[[], None]) -> None: ...


class SimNode:
    """Implements ``network.Machine``. ``core`` is ``None`` while no process runs."""

    def __init__(self, world: Surroundings, plan: Plan) -> None:
        self.plan = plan
        self.name, self.node = plan.machine, plan.identity.node
        self.identities: dict[NodeId, None] = {self.node: None}  # all it ever had: a lost disk takes one along
        self.core: Core | None = None
        self.store: StateStore | None = None
        self.exit: Exit | None = None
        self.refused = ""  # why the last start came to nothing
        self.life = self.kernel = 0
        self.powered, self.paused = True, False
        self.disk = SimDisk()
        self.blobs = SimBlobs(self.disk)
        self.sync_us = plan.sync_us
        self.clock = SimClock(plan.clock, ISSUED_MS)
        self.started_us = 0  # of the world
        self.resumed_us = 0  # after a stop that others may have noticed
        self.woken_us = 0  # after any stop
        self.cut_power_in_commit = False
        self.older: Older | None = None  # the codec of an earlier release, while it is to run one
        self.is_older = False  # the process that runs is of one
        self.lost_keys: dict[bytes, None] = {}  # of journal records that a flipped bit destroyed
        self._world = world
        self._inbox: list[Input] = []
        self._due_us: int | None = None  # what the core asked for, on its steady clock
        self._timer_us: int | None = None  # of the world: when the earliest timer fires
        self._paused_us = 0
        self._told_to_go = self._again = False
        self._last_command = 0
        self._lag_again_us = 0  # until then the process says nothing of standing still
        self._asleep: list[Callable[[], None]] = []  # of agents: what was due while the whole machine slept
        self.luck = rng.fork(world.seed, f"node/{self.name}")
        self._disk_luck = rng.fork(world.seed, f"disk/{self.name}")
        self._hands = Hands(self, world)
        self.agents = SimProcesses(self._machine_after, rng.fork(world.seed, f"agents/{self.name}"), first_pid=1000)

    @property
    def node_name(self) -> str:
        return self.plan.identity.name

    @property
    def alive(self) -> bool:
        return self.core is not None

    @property
    def usable(self) -> bool:
        """Somebody at its keyboard would get an answer: it runs, it is not stopped, and its boot is on the disk."""
        return self.core is not None and self.core.started and not self.paused

    def instant(self) -> Instant:
        return self.clock.now(self._world.now_us)

    # -- life of a process --------------------------------------------------------------------------------------------

    def start(self) -> None:
        """Read the journal, build the core, begin. A disk that refuses is tried again, as a service manager would."""
        if self.core is not None or not self.powered:
            return
        self.life += 1
        self.exit, self.refused, self._inbox = None, "", []
        self._told_to_go = self._again = False
        self.clock.process_started(self._world.now_us)
        disk = self.plan.adapt.disk(self.disk)
        try:
            self.journal = SimJournal(disk, Header(self.node, self.luck.randbytes(8)), self, self.tell_later)
        except (OSError, JournalUnreadable) as error:
            self.refused = str(error)
            self._world.trace.happened(self._world.now_us, self.name, f"cannot start: {self.refused}")
            if not isinstance(error, JournalUnreadable):
                self._world.at(self._world.now_us + START_AGAIN_US, self.start)
            return
        self._begin()

    def start_again(self) -> None:
        """Now, or as soon as a process that is on its way out has left."""
        self._again = self.exiting
        self.start()

    @property
    def exiting(self) -> bool:
        """It was told to go down and has not gone yet."""
        return self.core is not None and self._told_to_go

    def _begin(self) -> None:
        world = self._world
        self.is_older = self.older is not None
        ports = self.plan.adapt.ports(self._ports())
        store = self.store = ports.store()
        ports = replace(ports, store=lambda: store)
        now = self.instant()
        core = self.core = self.plan.adapt.core(Core(self._config(), ports, self.journal.began.records, now))
        self.clock.raise_floor(core.clock.floor_ms, world.now_us)
        self.started_us = self.resumed_us = world.now_us
        self._timer_us, self._lag_again_us = None, 0
        world.trace.happened(world.now_us, self.name, f"starts, boot {core.boot}")
        for watcher in world.audience.started:
            watcher.started(self)
        self.agents.attach(self)
        self._act(core.start(self.instant()))
        self.tell_later(HardwareProbed(_hardware(self.plan.city)))

    def kill(self) -> None:
        """SIGKILL of the daemon: what was written, the system still brings to the disk; its agents live on."""
        if self.core is not None:
            self._process_gone()
            self._dies("killed")

    def kill_all(self) -> None:
        """SIGKILL of the daemon and all its agents at once; the machine and its disk stay."""
        self.agents.power_off()
        self.kill()

    def lose_power(self) -> None:
        """Nothing is said to anybody, and what was not synced is lost, in part or as a whole."""
        if self.powered:
            self.powered = False
            self._asleep.clear()
            self.agents.power_off()
            self.disk.power_cut(self._disk_luck)
            self.blobs.power_cut(self._disk_luck)
            self._dies("lost its power")

    def lose_disk(self) -> None:
        """The power goes and the disk with it. Whoever sets the machine up anew makes it another node."""
        self.lose_power()
        self.lost_keys.update(dict.fromkeys(_keys(self.disk.durable)))
        self.disk = SimDisk()
        self.blobs = SimBlobs(self.disk)
        name = f"{self.name}-{len(self.identities) + 1}"
        identity = make_identity(self._world.seed, name, self.plan.identity.region)
        self.plan = replace(self.plan, identity=identity)
        self.node = identity.node
        self.identities[self.node] = None

    def flip_bit(self) -> bool:
        """A bit of the journal turns over while the machine is off. False: there was nothing to spoil."""
        before = _keys(self.disk.durable)
        if self.disk.flip(self._disk_luck) is None:
            return False
        after = _keys(self.disk.durable)
        lost = [key for key, newest in before.items() if key not in after or (newest and after[key] != newest)]
        self.lost_keys.update(dict.fromkeys(lost))
        return True

    def flip_blob(self) -> bool:
        """A bit of a checkpoint file turns over, whether anybody runs or not. False: there is none."""
        return self.blobs.flip(self._disk_luck)

    def gain_power(self) -> None:
        if not self.powered:
            self.powered, self.paused = True, False
            self.kernel += 1
            self.clock.power_on(self._world.now_us)

    def _process_gone(self) -> None:
        self.disk.process_killed()
        self.blobs.process_killed()
        self.agents.detach()

    def _dies(self, how: str) -> None:
        world = self._world
        world.trace.happened(world.now_us, self.name, how)
        world.network.process_died(self)
        was_alive, self.core, self.store, self.paused, self._inbox = self.core is not None, None, None, False, []
        self.life += 1
        if was_alive:
            for watcher in world.audience.died:
                watcher.died(self)

    # -- stopping the clock -------------------------------------------------------------------------------------------

    def pause(self) -> None:
        """SIGSTOP: the machine goes on, its process does not."""
        self.paused, self._paused_us = True, self._world.now_us

    def suspend(self) -> None:
        """The whole machine sleeps: its steady clock stands still and its kernel answers nobody."""
        self.paused, self.powered, self._paused_us = True, False, self._world.now_us
        self.clock.suspend(self._world.now_us)

    def resume(self) -> None:
        if not self.paused:
            return
        world, slept_us = self._world, 0
        if not self.powered:
            slept_us = self.clock.resume(world.now_us)
            self.powered = True
            self._agents_wake()
        self.paused, self.woken_us = False, world.now_us
        if world.now_us - self._paused_us > NOTICED_US:
            self.resumed_us = world.now_us
        if self.core is None:
            return
        now = self.instant()
        lag_us = 0 if self._due_us is None else now.mono_us - self._due_us
        lagged = lag_us > LAG_US and now.mono_us >= self._lag_again_us
        if lagged:
            self._lag_again_us = now.mono_us + LAG_REST * lag_us
        still_us = max(slept_us, lag_us if lagged else 0)
        if still_us > 0:
            self._feed(Slept(still_us), now)
        inbox, self._inbox = self._inbox, []
        for event in inbox:
            self._step(event)
        self._wake(now)
        self._arm_again()

    # -- events -------------------------------------------------------------------------------------------------------

    def tell(self, event: Input) -> None:
        if self.core is None:
            return
        if self.paused:
            self._inbox.append(event)
        else:
            self._step(event)

    def tell_later(self, event: Input) -> None:
        """In the next turn of this process, at the same moment."""
        self.after(0, lambda: self.tell(event))

    def hear(self, event: Input) -> None:
        """``network.Machine``: a connection says something, maybe while a turn of this very process goes on."""
        life = self.life
        self._world.at(self._world.now_us, lambda: self.tell(event) if self.life == life else None)

    def heard_meanwhile(self, links: dict[NodeId, LinkId]) -> None:
        """While time leapt these peers were heard: the last of their pings, before anything that is due."""
        core = self.core
        if core is None or self.paused:
            return
        up, now = dict.fromkeys(core.hub.peers()), self.instant()
        for peer, link in links.items():
            if peer in up:
                self._feed(LinkBytes(link, _PING), now)

    def after(self, wait_us: int, act: Callable[[], None]) -> None:
        """``act`` later, if the same process still lives."""
        life = self.life

        def still_there() -> None:
            if self.life == life and self.core is not None:
                act()

        self._world.at(self._world.now_us + wait_us, still_there)

    def _machine_after(self, wait_us: int, act: Callable[[], None]) -> None:
        """For what runs beside the daemon. While the whole machine sleeps nothing does."""

        def awake() -> None:
            if self.paused and not self.powered:
                self._asleep.append(act)
            else:
                act()

        self._world.at(self._world.now_us + wait_us, awake)

    def _agents_wake(self) -> None:
        asleep, self._asleep = self._asleep, []
        for act in asleep:
            self._world.at(self._world.now_us, act)

    def ask(self, command: AnyCommand) -> int:
        """Somebody at this node's door. The number comes back in the reply."""
        self._last_command += 1
        number = self._last_command
        self._told_to_go = self._told_to_go or isinstance(command, Shutdown)
        for watcher in self._world.audience.asked:
            watcher.asked(self, number, command)
        assert self.core is not None
        self.tell_later(Measured(0, self.journal.file_bytes, self.journal.quarantined, self.journal.failed))
        self.tell_later(CommandGiven(number, command))
        return number

    def commit_us(self) -> int:
        wait_us = round(self.sync_us * (0.5 + self._disk_luck.random()))
        if self.cut_power_in_commit:
            self.cut_power_in_commit = False
            self._world.at(self._world.now_us + wait_us // 2, self.lose_power)
        return wait_us

    def _step(self, event: Input) -> None:
        """What is due comes first, and what the event made due leaves at once, as in the loop of a real host."""
        now = self.instant()
        self._wake(now)
        self._feed(event, now)
        self._wake(now)

    def _feed(self, event: Input, now: Instant) -> None:
        core, world = self.core, self._world
        if core is not None:
            world.trace.told(world.now_us, self.name, event)
            effects = core.handle(event, now)
            for watcher in world.audience.handled:
                watcher.handled(self, event, effects)
            self._act(effects)

    def _wake(self, now: Instant) -> None:
        core, world = self.core, self._world
        if core is not None and self._due_us is not None and self._due_us <= now.mono_us:
            world.trace.woke(world.now_us, self.name)
            self._act(core.wake(now))

    # -- effects ------------------------------------------------------------------------------------------------------

    def perform(self, effects: list[Effect]) -> None:
        """Effects of the core that somebody else called: a test that plays a bad node."""
        self._act(effects)

    def _act(self, effects: list[Effect]) -> None:
        core, world = self.core, self._world
        world.trace.wanted(world.now_us, self.name, effects)
        for effect in effects:
            self._hands.perform(effect)
        if self.core is not core or core is None:
            return
        self._arm(core)
        for watcher in world.audience.stepped:
            watcher.stepped(self)

    def leave(self, effect: Exit) -> None:
        """The process ends in order, once what it asked for before has been done."""
        self.exit = self.exit or effect
        self.after(0, self._gone)

    def _gone(self) -> None:
        self._process_gone()
        again = self._again
        failed = self.exit is not None and self.exit.code != 0
        self._dies("has left")
        if again:
            self.start()
        elif failed:  # a service manager tries again
            self._world.at(self._world.now_us + START_AGAIN_US, self.start)

    def _arm(self, core: Core) -> None:
        """One timer for the earliest deadline. One that is set too early fires and is set again."""
        self._due_us = core.deadline()
        if self._due_us is None:
            return
        at_us = max(self._world.now_us, self.clock.world_us(self._due_us))
        if self._timer_us is None or at_us < self._timer_us or self._timer_us <= self._world.now_us:
            self._timer_us = at_us
            life = self.life
            self._world.at(at_us, lambda: self._timer_fired(life, at_us))

    def _arm_again(self) -> None:
        if self.core is not None and self._timer_us is None:
            self._arm(self.core)

    def _timer_fired(self, life: int, at_us: int) -> None:
        if life != self.life or at_us != self._timer_us or self.core is None:
            return
        self._timer_us = None
        if self.paused:
            return
        self._wake(self.instant())
        self._arm_again()

    # -- what the core is told about itself ---------------------------------------------------------------------------

    def _ports(self) -> NodePorts:
        identity = self.plan.identity
        return NodePorts(
            signer=identity.signer, verifier=self._world.verifier, store=AutomergeStore, clock=MeshClock(ISSUED_MS),
            codec=self.older or self._world.codec,
        )  # fmt: skip

    def _config(self) -> NodeConfig:
        identity, bundle, documents = self.plan.identity, trusted_bundle(), self.plan.documents
        documents = documents if not self.is_older else replace(documents, kinds=older_kinds(documents.kinds))
        return NodeConfig(
            mesh=MESH, name=NodeName(identity.name), node=self.node, region=Region(identity.region), bundle=bundle,
            bundle_bytes=bundle.data, member=identity.member, endpoints=self.plan.endpoints, seeds=self.plan.seeds,
            run_id=self.luck.randbytes(8), seed=self.luck.randbytes(32), root_sha256=bundle.root_sha256.hex(),
            documents=documents, profile=self.plan.profile,
        )  # fmt: skip


def _keys(data: bytes) -> dict[bytes, bytes]:
    """What is there, and of the documents' records in which form: a root before the newest one is another root."""
    records = recover(data).records
    return {record.key: record.body if record.kind is RecordKind.ENVELOPE else b"" for record in records}


def _hardware(city: City) -> bytes:
    facts = {"cpu": {"usable": 4}, "memory": {"limit_bytes": 8 << 30}, "simulated": True, "city": city.name}
    return msgspec.json.encode(facts)
