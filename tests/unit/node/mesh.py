"""Whole cores with real keys, joined by pipes in virtual time. Disks and wires do what a test says, agents what their
command lines say (``meshnode/sim/manner.py``)."""

import hashlib
import heapq
from collections.abc import Callable, Sequence

import msgspec

from meshnode.agents.messages import StartProcess, StopProcess, WelcomeAgent
from meshnode.crdt.store import AutomergeStore
from meshnode.gossip.messages import DialFailed
from meshnode.kernel import rng
from meshnode.kernel.blobs import BlobsKept, DropBlobs, KeepBlobs, ReadBlob
from meshnode.kernel.effects import Dial, Effect
from meshnode.kernel.instant import MS, SECOND, ClockTrust, Instant
from meshnode.kernel.reasons import DialFailure, Loss
from meshnode.kernel.records import Record, RecordKind
from meshnode.links.messages import CloseLink, LinkBytes, LinkLost, LinkOpened, Transmit
from meshnode.model.commands import AnyCommand, CallSkill, ListAgents, RunAgent
from meshnode.model.ids import InstanceId, LinkId, MeshId, NodeName, Region
from meshnode.model.views import AgentsView, AgentView, AnyView, CallView, Failure, LogLine, LogsView
from meshnode.node.config import NodeConfig, NodePorts
from meshnode.node.core import Core
from meshnode.node.effects import Announce, DrawEntropy, Exit, FetchLogs, Reply, Store, StreamItemTold
from meshnode.node.inputs import (
    CommandGiven,
    EntropyDrawn,
    HardwareProbed,
    Input,
    LoadSampled,
    LogsFetched,
    Stored,
    StoreFailed,
)
from meshnode.security.clock import MeshClock
from meshnode.security.identity import Ed25519Verifier, RecordSigner
from meshnode.security.messages import IssueLeaf, RefuseEnrolment
from meshnode.sim.agents import SCRIPT, SimProcesses
from meshnode.sim.blobs import SimBlobs
from meshnode.sim.disk import SimDisk
from meshnode.wire.bus import Spread, ToAgent
from meshnode.wire.frame import Frame
from tests.unit.security.world import ADMIN, BUNDLE, MESH, NOW_MS, bundle, member_record

FACTS = msgspec.json.encode({"cpu": {"usable": 4}, "memory": {"limit_bytes": 8 << 30}})
LOAD = bytes((10, 20, 30, 255, 255, 0, 50, 40, 0, 1, 0, 2, 0))


def signer_of(name: str) -> RecordSigner:
    return RecordSigner(hashlib.sha256(name.encode()).digest())


class Box:
    """One process: its core and its hands. ``disk`` is how it answers: "ok", "slow" (never), or an error.

    ``machine`` and ``blobs`` outlive the process: the agents beside it, and what lies on its disk.
    """

    def __init__(
        self,
        mesh: "Mesh",
        name: str,
        records: Sequence[Record] = (),
        *,
        run: int = 1,
        member: bytes = b"",
        seeds: Sequence[str] = (),
        admin: RecordSigner | None = None,
        notes: tuple[str, ...] = (),
        trust: ClockTrust = ClockTrust.SYNCED,
        machine: SimProcesses | None = None,
        blobs: SimBlobs | None = None,
        region: str = "eu",
        roles: tuple[str, ...] = ("admin",),
        whole_mesh_max: int = 64,
    ) -> None:
        self.mesh, self.name, self.trust = mesh, name, trust
        self.signer = signer_of(name)
        self.node = self.signer.node
        self.address = (name, 7000)
        self.disk = "ok"
        self.journal: list[Record] = list(records)
        self.replies: dict[int, list[AnyView]] = {}
        self.announced: list[Announce] = []
        self.effects: list[Effect] = []
        self.exit: Exit | None = None
        self.links: dict[LinkId, tuple[Box, LinkId]] = {}
        self.machine = machine or SimProcesses(mesh.call_later, rng.fork(name.encode(), "agents"), first_pid=1_000)
        self.blobs = blobs or SimBlobs(SimDisk())
        self.items: dict[int, list[bytes]] = {}  # of streams, by command
        self.log: list[LogLine] = []  # what its disk holds of agents' lines
        self._last_command = 0
        config = NodeConfig(
            mesh=MeshId(MESH), name=NodeName(name), node=self.node, region=Region(region), bundle=bundle(),
            bundle_bytes=BUNDLE,
            member=member or member_record(name, self.signer.public_key, roles=roles, region=region),
            endpoints=(self.address,), seeds=tuple((seed, 7000) for seed in seeds), notes=notes,
            whole_mesh_max=whole_mesh_max,
            run_id=hashlib.sha256(f"{name}{run}".encode()).digest()[:8], seed=f"{name}{run}".encode(),
        )  # fmt: skip
        ports = NodePorts(
            signer=self.signer, verifier=Ed25519Verifier(), admin=admin, store=AutomergeStore, clock=MeshClock(0)
        )
        self.core = Core(config, ports, self.journal, self.now)
        mesh.boxes[name] = self

    @property
    def now(self) -> Instant:
        return Instant(self.mesh.now_us, NOW_MS + self.mesh.now_us // 1_000, self.trust)

    def start(self) -> "Box":
        self.machine.attach(Ear(self))
        self.take(self.core.start(self.now))
        return self

    def tell(self, event: Input) -> list[Effect]:
        """One input; what the core wants of it is done and returned."""
        if self.exit is not None or self.mesh.boxes.get(self.name) is not self:
            return []
        effects = self.core.handle(event, self.now)
        self.take(effects)
        return effects

    def ask(self, command: AnyCommand) -> int:
        self._last_command += 1
        self.tell(CommandGiven(self._last_command, command))
        return self._last_command

    def answer(self, command: AnyCommand, within_us: int = 15 * SECOND) -> AnyView:
        """The one reply to a command."""
        number = self.ask(command)
        until = self.mesh.now_us + within_us
        while number not in self.replies and self.mesh.now_us < until:
            self.mesh.run(10 * MS)
        (view,) = self.replies[number]
        return view

    def failure(self, command: AnyCommand, within_us: int = 15 * SECOND) -> Failure:
        view = self.answer(command, within_us)
        assert isinstance(view, Failure), view
        assert view.code and view.message and view.exit_code
        return view

    def has(self, command: AnyCommand, code: str, exit_code: int) -> Failure:
        """The command fails like that, and says what to do next."""
        view = self.failure(command)
        assert (view.code, view.exit_code) == (code, exit_code), view
        assert view.next_step, view
        return view

    def records(self, kind: RecordKind) -> list[Record]:
        return [record for record in self.journal if record.kind is kind]

    def told(self, subject: str) -> list[str]:
        """The texts of all announced events about a subject."""
        return [each.event.text for each in self.announced if each.event.subject == subject]

    def running(self) -> list[InstanceId]:
        """The units that have a process on this machine."""
        return [unit for unit, _ in self.machine.running()]

    def units(self) -> dict[tuple[str, str], AgentView]:
        """What is shown of agents here, by unit and node."""
        view = self.answer(ListAgents())
        assert isinstance(view, AgentsView)
        return {(item.instance, item.node): item for item in view.items}

    def to_agents(self) -> list[Frame]:
        """Every frame an agent of this machine was sent."""
        return [frame for effect in self.effects if isinstance(effect, ToAgent) for frame in effect.frames]

    def refused(self) -> list[str]:
        """Why registrations were refused."""
        return [e.refusal for e in self.effects if isinstance(e, WelcomeAgent) and e.refusal]

    # -- hands --------------------------------------------------------------------------------------------------------

    def take(self, effects: Sequence[Effect]) -> None:
        self.effects += effects
        written: list[LinkId] = []
        for effect in effects:
            match effect:
                case Store(batch_no, records):
                    self._store(batch_no, records)
                case Reply(command_no, view):
                    self.replies.setdefault(command_no, []).append(view)
                    assert len(self.replies[command_no]) == 1, f"answered twice: {self.replies[command_no]}"
                case Announce():
                    self.announced.append(effect)
                case Exit():
                    self.exit = self.exit or effect
                case DrawEntropy(purpose, count):
                    drawn = hashlib.shake_128(f"{self.name}{purpose}".encode()).digest(count)
                    self.mesh.later(self, EntropyDrawn(purpose, drawn))
                case Dial():
                    self.mesh.dial(self, effect)
                case Transmit(link, _):
                    assert link not in written, "one piece a link and turn"
                    written.append(link)
                    self.mesh.transmit(self, effect)
                case CloseLink(link, _):
                    self.mesh.close(self, link)
                case StartProcess() | StopProcess() | WelcomeAgent() | ToAgent():
                    self.machine.perform(effect)
                case IssueLeaf() | RefuseEnrolment() | Spread():
                    pass
                case _:
                    self._fetch(effect)

    def _fetch(self, effect: Effect) -> None:
        match effect:
            case StreamItemTold(command_no, number, payload):
                assert number == len(self.items.setdefault(command_no, []))
                self.items[command_no].append(payload)
            case KeepBlobs(batch_no, _, room):
                if self.disk == "ok":
                    written = self.blobs.write(effect)
                    self.mesh.call_later(1 * MS, lambda: self.tell(self.blobs.kept(written)))
                elif self.disk != "slow":
                    self.mesh.later(self, BlobsKept(batch_no, self.disk, room))
            case ReadBlob():
                self.mesh.later(self, self.blobs.read(effect))
            case DropBlobs(digests):
                self.blobs.drop(digests)
            case FetchLogs(ask_no, agent, after, limit):
                lines = [line for line in self.log if line.hlc > after and line.unit.startswith(agent)]
                self.mesh.later(self, LogsFetched(ask_no, LogsView(items=lines[:limit], more=len(lines) > limit)))
            case _:
                raise AssertionError(f"an effect without a hand: {effect}")

    def _store(self, batch_no: int, records: Sequence[Record]) -> None:
        if self.disk == "slow":
            return
        if self.disk == "ok":
            self.journal += records
            self.mesh.later(self, Stored(batch_no))
        else:
            self.mesh.later(self, StoreFailed(batch_no, self.disk))


class Ear:
    """How the agents of a machine reach the daemon that runs now."""

    def __init__(self, box: Box) -> None:
        self._box = box

    def after(self, wait_us: int, act: Callable[[], None]) -> None:
        self._box.mesh.call_later(wait_us, act)

    def tell(self, event: Input) -> None:
        self._box.tell(event)


def simulated(*skills: str, **manner: int) -> list[str]:
    """The command line of an agent: ``simulated("words.count", answer_ms=5, stateful=1)``."""
    return [SCRIPT, ",".join(skills), *(f"{name}={value}" for name, value in manner.items())]


class Mesh:
    """Boxes by name, and the time."""

    def __init__(self, latency_us: int = 2 * MS) -> None:
        self.now_us = 1_000 * SECOND  # machines are rarely started with their daemon
        self.latency_us = latency_us
        self.boxes: dict[str, Box] = {}
        self.silent: list[frozenset[str]] = []
        self._queue: list[tuple[int, int, Callable[[], object]]] = []
        self._count = 0
        self._links = 0

    def start(self, *names: str) -> list[Box]:
        """Boxes that know the first one, all running and linked."""
        boxes = [Box(self, name, seeds=[names[0]] if name != names[0] else []).start() for name in names]
        for box in boxes:
            self.run(10 * MS)
            box.tell(HardwareProbed(FACTS))
            box.tell(LoadSampled(LOAD))
        self.run(3 * SECOND)
        assert all(len(box.core.hub.peers()) == len(names) - 1 for box in boxes)
        return boxes

    def run_agent(self, box: Box, name: str, *skills: str, **manner: int) -> None:
        """An agent that answers at once, if its manner says nothing else."""
        view = box.answer(RunAgent(name=name, argv=simulated(*skills, **{"answer_ms": 0} | manner)))
        assert isinstance(view, AgentView), view
        self.run(2 * SECOND)

    def call(self, box: Box, skill: str, **more: object) -> CallView | Failure:
        view = box.answer(CallSkill(skill=skill, **more))  # pyright: ignore[reportArgumentType]
        assert isinstance(view, CallView | Failure)
        return view

    def kill(self, box: Box, *, agents: bool = True) -> None:
        """The process is gone, and its agents with it unless they are to live; its peers' connections are reset."""
        del self.boxes[box.name]
        if agents:
            box.machine.power_off()
        else:
            box.machine.detach()
        for other, link in list(box.links.values()):
            self._lose(other, link, Loss.RESET)
        box.links.clear()

    def boot(self, box: Box, *, run: int = 2, seeds: Sequence[str] = ()) -> Box:
        """The daemon of a machine again, with what lies on its disk and with the agents that live."""
        again = Box(self, box.name, box.journal, run=run, seeds=seeds, machine=box.machine, blobs=box.blobs)
        again.log = box.log
        return again.start()

    def until(self, holds: Callable[[], bool], within_us: int = 20 * SECOND) -> int:
        """Time passes until something is so; how much did."""
        began_us = self.now_us
        while not holds():
            assert self.now_us < began_us + within_us, "it never came"
            self.run(10 * MS)
        return self.now_us - began_us

    def cut(self, *names: str) -> None:
        self.silent.append(frozenset(names))

    def isolate(self, box: Box) -> None:
        """Nothing reaches it, and nothing it sends arrives."""
        for name in self.boxes:
            if name != box.name:
                self.cut(box.name, name)

    def heal(self) -> None:
        self.silent.clear()

    def run(self, for_us: int) -> None:
        until = self.now_us + for_us
        while True:
            wakes = [(at, name) for name, box in self.boxes.items() if (at := box.core.deadline()) is not None]
            wake_at, who = min(((at, name) for at, name in wakes if not self.boxes[name].exit), default=(until + 1, ""))
            act_at = self._queue[0][0] if self._queue else until + 1
            if min(wake_at, act_at) > until:
                break
            if act_at <= wake_at:
                self.now_us, _, act = heapq.heappop(self._queue)
                act()
                continue
            self.now_us = max(self.now_us, wake_at)
            box = self.boxes[who]
            box.take(box.core.wake(box.now))
            after = box.core.deadline()
            assert after is None or after > self.now_us, "a deadline that stays due would spin"
        self.now_us = until

    # -- for boxes ----------------------------------------------------------------------------------------------------

    def call_later(self, wait_us: int, act: Callable[[], object]) -> None:
        self._count += 1
        heapq.heappush(self._queue, (self.now_us + wait_us, self._count, act))

    def later(self, box: Box, event: Input) -> None:
        self.call_later(1 * MS, lambda: box.tell(event))

    def dial(self, caller: Box, dial: Dial) -> None:
        callee = self.boxes.get(dial.host)
        if callee is not None and frozenset((caller.name, callee.name)) in self.silent:
            self.call_later(3 * SECOND, lambda: caller.tell(DialFailed(dial.dial_no, DialFailure.TIMEOUT)))
        elif callee is None or callee.exit is not None:
            self.later(caller, DialFailed(dial.dial_no, DialFailure.REFUSED))
        else:
            self.call_later(self.latency_us, lambda: self._open(caller, callee, dial))

    def connect(self, caller: Box, callee: Box, dial_no: int = 1) -> None:
        """A dial nobody asked for."""
        self._open(caller, callee, Dial(dial_no, callee.name, 7000))

    def transmit(self, sender: Box, effect: Transmit) -> None:
        end = sender.links.get(effect.link)
        if end is not None and frozenset((sender.name, end[0].name)) not in self.silent:
            other, link = end
            self.call_later(self.latency_us, lambda: other.links.get(link) and other.tell(LinkBytes(link, effect.data)))

    def close(self, box: Box, link: LinkId) -> None:
        end = box.links.pop(link, None)
        if end is not None:
            self.later(box, LinkLost(link, Loss.CLOSED))
            self.call_later(self.latency_us, lambda: self._lose(*end, Loss.EOF))

    def _open(self, caller: Box, callee: Box, dial: Dial) -> None:
        self._links += 2
        near, far = LinkId(self._links), LinkId(self._links + 1)
        caller.links[near], callee.links[far] = (callee, far), (caller, near)
        address = f"{dial.host}:{dial.port}"
        callee.tell(LinkOpened(far, caller.node, caller.core.config.name, True, 0, f"{caller.name}:50000"))
        caller.tell(LinkOpened(near, callee.node, callee.core.config.name, False, dial.dial_no, address))

    def _lose(self, box: Box, link: LinkId, how: Loss) -> None:
        if box.links.pop(link, None) is not None:
            self.later(box, LinkLost(link, how))


__all__ = ["ADMIN", "FACTS", "LOAD", "Box", "Mesh", "member_record", "signer_of", "simulated"]
