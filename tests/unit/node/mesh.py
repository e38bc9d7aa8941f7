"""Whole cores with real keys, joined by pipes in virtual time. Disks, agents and wires do what a test says."""

import hashlib
import heapq
from collections.abc import Callable, Sequence

import msgspec

from meshnode.agents.messages import (
    AgentGone,
    AgentRegistered,
    ProcessExited,
    ProcessStarted,
    StartProcess,
    StopProcess,
    WelcomeAgent,
)
from meshnode.crdt.store import AutomergeStore
from meshnode.gossip.messages import DialFailed
from meshnode.kernel.effects import Dial, Effect
from meshnode.kernel.instant import MS, SECOND, ClockTrust, Instant
from meshnode.kernel.reasons import DialFailure, Loss
from meshnode.kernel.records import Record, RecordKind
from meshnode.links.messages import CloseLink, LinkBytes, LinkLost, LinkOpened, Transmit
from meshnode.model.commands import AnyCommand, CallSkill, RunAgent
from meshnode.model.ids import AgentConn, InstanceId, LinkId, MeshId, NodeName, Region
from meshnode.model.views import AnyView, CallView, Failure
from meshnode.node.config import NodeConfig, NodePorts
from meshnode.node.core import Core
from meshnode.node.effects import Announce, DrawEntropy, Exit, Reply, Store
from meshnode.node.inputs import CommandGiven, EntropyDrawn, HardwareProbed, Input, LoadSampled, Stored, StoreFailed
from meshnode.security.clock import MeshClock
from meshnode.security.identity import Ed25519Verifier, RecordSigner
from meshnode.security.messages import IssueLeaf, RefuseEnrolment
from meshnode.wire.bus import AgentFrames, ToAgent
from meshnode.wire.calls import CallHeader, RegisterHeader, ResultHeader, SkillDescription
from meshnode.wire.frame import Frame, Kind
from tests.unit.security.world import ADMIN, BUNDLE, MESH, NOW_MS, bundle, member_record

FACTS = msgspec.json.encode({"cpu": {"usable": 4}, "memory": {"limit_bytes": 8 << 30}})
LOAD = bytes((10, 20, 30, 255, 255, 0, 50, 40, 0, 1, 0, 2, 0))


def signer_of(name: str) -> RecordSigner:
    return RecordSigner(hashlib.sha256(name.encode()).digest())


class Box:
    """One process: its core and its hands. ``disk`` is how the journal answers: "ok", "slow" (never), or an error."""

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
        self.agents = Agents(self)
        self._last_command = 0
        config = NodeConfig(
            mesh=MeshId(MESH), name=NodeName(name), node=self.node, region=Region("eu"), bundle=bundle(),
            bundle_bytes=BUNDLE, member=member or member_record(name, self.signer.public_key, roles=("admin",)),
            endpoints=(self.address,), seeds=tuple((seed, 7000) for seed in seeds), notes=notes,
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
                    self.agents.perform(effect)
                case IssueLeaf() | RefuseEnrolment():
                    pass
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


class Agents:
    """Processes and the bus of one box. An agent's command line names its skills, an ``!`` before one never answers."""

    def __init__(self, box: Box) -> None:
        self._box = box
        self.running: dict[InstanceId, tuple[StartProcess, AgentConn]] = {}
        self.frames: list[tuple[AgentConn, Frame]] = []
        self.refused: list[tuple[AgentConn, str]] = []
        self._last = 0

    def perform(self, effect: StartProcess | StopProcess | WelcomeAgent | ToAgent) -> None:
        match effect:
            case StartProcess():
                self._start(effect)
            case StopProcess(instance, run_no):
                self._box.mesh.call_later(20 * MS, lambda: self.end(instance, run_no))
            case WelcomeAgent(conn, refusal):
                if refusal:
                    self.refused.append((conn, refusal))
            case ToAgent(conn, frames):
                self.frames += [(conn, frame) for frame in frames]
                for frame in frames:
                    if frame.kind is Kind.CALL:
                        self._work(conn, frame)

    def end(self, instance: InstanceId, run_no: int = 0, code: int = 0) -> None:
        found = self.running.get(instance)
        if found is not None and run_no in (0, found[0].run_no):
            del self.running[instance]
            self._box.tell(AgentGone(found[1]))
            self._box.tell(ProcessExited(instance, found[0].run_no, code))

    def _start(self, start: StartProcess) -> None:
        self._last += 1
        pid, conn = 1_000 + self._last, AgentConn(self._last)
        self.running[start.instance] = (start, conn)
        self._box.mesh.later(self._box, ProcessStarted(start.instance, start.run_no, pid))
        skills = tuple(SkillDescription(word.lstrip("!")) for word in start.argv[1:])
        header = RegisterHeader(start.instance.partition("/")[0], start.instance, start.ticket, pid)
        self._box.mesh.later(self._box, AgentRegistered(conn, header, skills, pid, 0))

    def _work(self, conn: AgentConn, frame: Frame) -> None:
        header = msgspec.msgpack.decode(frame.header, type=CallHeader)
        start = next(start for start, known in self.running.values() if known == conn)
        if f"!{header.skill}" not in start.argv:
            answer = msgspec.msgpack.encode(ResultHeader(header.call_id))
            payload = msgspec.json.encode({"by": start.instance, "given": msgspec.Raw(frame.payload)})
            self._box.mesh.later(self._box, AgentFrames(conn, (Frame(Kind.RESULT, header=answer, payload=payload),)))


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

    def run_agent(self, box: Box, name: str, *skills: str) -> None:
        box.answer(RunAgent(name=name, argv=["python", *skills], cwd="/"))
        self.run(2 * SECOND)

    def call(self, box: Box, skill: str, **more: object) -> CallView | Failure:
        view = box.answer(CallSkill(skill=skill, **more))  # pyright: ignore[reportArgumentType]
        assert isinstance(view, CallView | Failure)
        return view

    def kill(self, box: Box) -> None:
        """The process is gone; its peers' connections are reset."""
        del self.boxes[box.name]
        for other, link in list(box.links.values()):
            self._lose(other, link, Loss.RESET)
        box.links.clear()

    def cut(self, *names: str) -> None:
        self.silent.append(frozenset(names))

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


__all__ = ["ADMIN", "FACTS", "LOAD", "Box", "Mesh", "member_record", "signer_of"]
