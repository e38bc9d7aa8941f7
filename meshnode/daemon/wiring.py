"""Builds the house: every hand, the one core, and the tasks that live as long as the daemon."""

import asyncio
import gc
import logging
import secrets
import signal
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from meshnode.api.app import Api
from meshnode.api.server import serve
from meshnode.crdt.store import AutomergeStore
from meshnode.daemon import settings as kept
from meshnode.daemon.door import Door
from meshnode.daemon.hands import Hands
from meshnode.daemon.ready import Ready
from meshnode.daemon.settings import Settings
from meshnode.host.addresses import reachable_addresses
from meshnode.host.agentbus import AgentBus
from meshnode.host.blobhand import BlobHand
from meshnode.host.blobs import BlobStore
from meshnode.host.bus_http import HttpAgents
from meshnode.host.clock import SystemClock
from meshnode.host.credentials import Credentials
from meshnode.host.discovery import Discovery, DiscoveryConfig
from meshnode.host.hardware import Hardware
from meshnode.host.identity import Identity
from meshnode.host.journal import JournalWriter, Opened
from meshnode.host.listener import ListenerConfig
from meshnode.host.logreader import LogReader
from meshnode.host.loop import CoreLoop
from meshnode.host.openfiles import objection, raise_limit
from meshnode.host.renewing import Renewer
from meshnode.host.rundir import discard_run_directory, run_directory
from meshnode.host.supervisor import Supervisor
from meshnode.host.transport import Transport, TransportConfig
from meshnode.kernel.counters import Counters
from meshnode.kernel.journal import Disk
from meshnode.links.carriage import RelayConfig
from meshnode.model.commands import GetStatus, Shutdown
from meshnode.model.errors import LocalError
from meshnode.model.ids import MeshId, NodeName, Region
from meshnode.node.config import NodeConfig, NodePorts
from meshnode.node.core import Core
from meshnode.node.effects import Exit
from meshnode.node.inputs import Measured
from meshnode.sdk import pages
from meshnode.security.clock import MeshClock
from meshnode.security.identity import Ed25519Verifier
from meshnode.security.messages import RenewalWanted

if TYPE_CHECKING:
    from meshnode.host.bus_pub import PubEndpoint

log = logging.getLogger(__name__)

# An orderly end is given this long; then the process goes, and what it kept durable is what counts.
GOODBYE_S = 8.0
JOURNAL = "journal"
MANY_RECORDS = 1_000  # at a start: reading them took more memory than what is kept of them
_ANY = ("", "::", "0.0.0.0")  # noqa: S104 - shown, not bound


@dataclass(frozen=True, kw_only=True, slots=True)
class Adapt:
    """Where tests and benches may put something in front of a port, or listen to the core. The product never does.

    ``beside`` is given the loop once it runs: a further hand that tells the core what happens.
    """

    ports: Callable[[NodePorts], NodePorts]
    disk: Callable[[Disk], Disk]
    core: type[Core] = Core
    beside: Callable[[CoreLoop], None] = lambda _: None


AS_BUILT = Adapt(ports=lambda ports: ports, disk=lambda disk: disk)


def _settle_down(*, many: bool) -> None:
    """What a start made stays for good. The collector need not look at all of it again and again: that took 20 ms a
    time, in which nothing is answered, every quarter of a minute of a busy node."""
    gc.collect()
    gc.freeze()
    if many:
        pages.give_back()


class NotStarted(LocalError):
    """The node ended before it was ready. What it had stored is as it was."""

    code = "not-started"


class House:
    """One running daemon."""

    def __init__(self, directory: Path, identity: Identity, settings: Settings, ready: Ready, adapt: Adapt) -> None:
        self._directory, self._identity, self._settings = directory, identity, settings
        self._ready, self._adapt = ready, adapt
        self._few_files = ""  # what there is to say about the limit of open files

    async def live(self, *, made: bool, recovery_words: str | None) -> int:
        """Build everything, serve until told to go, leave nothing behind. Returns the exit code."""
        self._few_files = objection(raise_limit())
        if self._few_files:
            log.warning("few open files", extra={"limit": self._few_files})
        run = run_directory(self._directory)
        opened = JournalWriter.open(self._directory / JOURNAL, node=self._identity.node, through=self._adapt.disk)
        hands = Hands()
        hands.journal = opened.writer
        try:
            await self._live(run, hands, opened, made=made, recovery_words=recovery_words)
        finally:
            opened.writer.close()
            discard_run_directory(self._directory)
        assert hands.exit is not None
        if hands.exit.code and not self._ready.served:
            raise NotStarted(hands.exit.reason, next_step="mend that, then start it again; the log tells more")
        if hands.exit.code:
            log.error("leaving", extra={"reason": hands.exit.reason})
        return hands.exit.code

    async def _live(self, run: Path, hands: Hands, opened: Opened, *, made: bool, recovery_words: str | None) -> None:
        clock = SystemClock(self._identity.not_before_ms)
        ports = self._ports()
        counters = Counters()
        transport = hands.transport = Transport(
            TransportConfig(
                listen=ListenerConfig(
                    host=self._settings.bind, port=self._settings.port, closed=not self._settings.listen
                ),
                dial_from=self._settings.dial_from,
            ),
            Credentials.of(self._identity, ports.clock, clock.now),
            hands.tell,
            counters,
        )
        transport.open()
        host, port = transport.address
        kept.save(self._directory, self._settings.merged(port=port))
        core = self._adapt.core(self._config(host, port, opened), ports, opened.records, clock.now())
        many = len(opened.records) > MANY_RECORDS
        for records in (opened.records, opened.recovered.records):
            records.clear()  # each room has taken its own; thousands of rows weigh as much as all the rest
        clock.raise_floor(core.clock.floor_ms)
        loop = hands.loop = CoreLoop(core, hands.perform, clock)
        hands.renewer = self._renewer(transport, loop, ports.clock, clock)
        self._for_agents(hands, run, loop)
        door = hands.door = Door(
            core, loop, lambda: _measured(loop, opened.writer, counters, hands.bus.counters), counters
        )
        pub = self._pub(run, door, counters)
        hardware = Hardware(loop.tell)
        discovery = Discovery(
            DiscoveryConfig(mesh=self._identity.mesh, node=self._identity.node, port=port), loop.tell, counters
        )
        # The group is the inner one: what goes wrong with the socket must not come out wrapped in a group of errors.
        async with serve(Api(door, agents=HttpAgents(hands.bus)), str(run / "api.sock")), asyncio.TaskGroup() as tasks:
            loop.start()
            self._adapt.beside(loop)
            hands.supervisor.start()
            serving = [tasks.create_task(transport.serve(), name="transport")]
            serving.append(tasks.create_task(hardware.watch(), name="hardware"))
            serving.append(tasks.create_task(hands.renewer.serve(), name="certificate"))
            if self._settings.mdns and self._settings.listen:
                serving.append(tasks.create_task(discovery.serve(), name="discovery"))
            self._obey_signals(tasks, door, loop)
            if await _begun(tasks, door, hands):
                names = {"mesh": self._identity.mesh, "name": self._identity.name, "region": self._identity.region}
                listen = f"{'*' if host in _ANY else host}:{port}" if self._settings.listen else ""
                self._ready.succeeded(names if made else None, recovery_words, listen)
                _settle_down(many=many)
                await hands.left.wait()
            door.leave(hands.exit.reason if hands.exit else "it was told to")
            await self._go(hands)
            if pub is not None:
                pub.close()
            for task in serving:
                task.cancel()
            loop.stop()

    def _renewer(self, transport: Transport, loop: CoreLoop, mesh_clock: MeshClock, clock: SystemClock) -> Renewer:
        """Links that come from then on see the new certificate, in both directions."""

        def use(identity: Identity) -> None:
            transport.credentials = Credentials.of(identity, mesh_clock, clock.now)

        return Renewer(self._identity, loop.tell, use, lambda: mesh_clock.now_ms(clock.now()), self._settings.dial_from)

    def _for_agents(self, hands: Hands, run: Path, loop: CoreLoop) -> None:
        """The hands that agents are held by. Logs, bundles and blobs lie in the data directory, sockets beside it."""
        logs, name = self._directory / "logs", self._identity.name
        store = BlobStore(self._directory / "blobs")
        hands.bus = AgentBus(loop.tell, path=run / "bus.sock", node=name, zmq=self._settings.bus == "zmq")
        hands.supervisor = Supervisor(
            loop.tell, logs=logs, run=run, bus=hands.bus.zmq_endpoint or hands.bus.endpoint, node=name,
            bundles=self._directory / "bundles", blobs=store,
        )  # fmt: skip
        hands.blobs = BlobHand(store, loop.tell)
        hands.logs = LogReader(logs, name, loop.tell)

    def _pub(self, run: Path, door: Door, counters: Counters) -> "PubEndpoint | None":
        """Topics for processes that are no agents. Its library costs memory: it comes with the bus that needs it."""
        if self._settings.bus != "zmq":
            return None
        from meshnode.host.bus_pub import PubEndpoint

        pub = door.topics.beside = PubEndpoint(run / "bus.sock", door.tell, counters)
        return pub

    async def _go(self, hands: Hands) -> None:
        """What is queued leaves first: the goodbye to peers, the last records."""
        try:
            async with asyncio.timeout(GOODBYE_S):
                await hands.supervisor.close()
        except TimeoutError:
            log.warning("agents did not end in time", extra={"grace_s": GOODBYE_S})
        hands.bus.close()
        hands.blobs.close()
        hands.logs.close()

    def _ports(self) -> NodePorts:
        return self._adapt.ports(
            NodePorts(
                signer=self._identity.signer, verifier=Ed25519Verifier(), admin=self._identity.admin,
                store=AutomergeStore, clock=MeshClock(self._identity.not_before_ms),
            )
        )  # fmt: skip

    def _config(self, host: str, port: int, opened: Opened) -> NodeConfig:
        identity, settings = self._identity, self._settings
        endpoints = tuple(map(kept.address, settings.advertise)) or reachable_addresses(host, port)
        if not settings.listen:
            endpoints = ()
        seeds = dict.fromkeys(map(kept.address, settings.seeds)) | dict.fromkeys(identity.seeds)
        notes = [
            f"journal: {piece.reason}, {len(piece.data)} bytes kept aside" for piece in opened.recovered.quarantined
        ]
        if self._few_files:
            notes.append(self._few_files)
        if opened.recovered.torn and not opened.recovered.spare:
            notes.append("journal: its end was cut off in the middle of a record, which is gone")
        return NodeConfig(
            mesh=MeshId(identity.mesh), name=NodeName(identity.name), node=identity.node, notes=tuple(notes),
            region=Region(identity.region), bundle=identity.bundle, bundle_bytes=identity.bundle.data,
            member=identity.member_record, endpoints=endpoints, seeds=tuple(seeds), profile=settings.profile,
            relay=_relay(settings),
            run_id=secrets.token_bytes(8), seed=secrets.token_bytes(32),
            certificate_sha256=identity.leaf_sha256.hex(), certificate_from_ms=identity.not_before_ms,
            certificate_expires_ms=identity.expires_ms, root_sha256=identity.bundle.root_sha256.hex(),
        )  # fmt: skip

    def _obey_signals(self, tasks: asyncio.TaskGroup, door: Door, loop: CoreLoop) -> None:
        asked: list[asyncio.Task[object]] = []

        def obey() -> None:
            if not asked:
                asked.append(tasks.create_task(_ask_to_leave(door), name="signal"))

        for number in (signal.SIGTERM, signal.SIGINT):
            asyncio.get_running_loop().add_signal_handler(number, obey)
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, loop.tell, RenewalWanted())


def _relay(settings: Settings) -> RelayConfig:
    return RelayConfig(
        pipes=True,
        bytes_per_s=settings.relay_bytes_per_s, burst_bytes=settings.relay_bytes_per_s,
        clients_max=settings.relay_clients, tunnels_max=settings.relay_tunnels,
        tunnels_per_client_max=settings.relay_client_tunnels,
    )  # fmt: skip


async def _begun(tasks: asyncio.TaskGroup, door: Door, hands: Hands) -> bool:
    """The core answers once this boot is durable. False: the node leaves without ever having been ready."""
    answer = tasks.create_task(door.ask(GetStatus()), name="first answer")
    leaving = tasks.create_task(hands.left.wait(), name="leaves early")
    await asyncio.wait([answer, leaving], return_when=asyncio.FIRST_COMPLETED)
    answer.cancel()
    leaving.cancel()
    return not hands.left.is_set()


async def _ask_to_leave(door: Door) -> object:
    return await door.ask(Shutdown())


def _measured(loop: CoreLoop, journal: JournalWriter, counters: Counters, bus: Counters) -> Measured:
    failed = journal.failed.message if journal.failed is not None else ""
    return Measured(
        loop.handle_max_us, journal.file_bytes, journal.quarantined, failed, counters.snapshot() | bus.snapshot()
    )


__all__ = ["AS_BUILT", "Adapt", "Exit", "House"]
