"""Effect -> hand: one match, no logic."""

import asyncio
import secrets

from meshnode.agents.messages import StartProcess, StopProcess, WelcomeAgent
from meshnode.daemon.door import Door
from meshnode.host.agentbus import AgentBus
from meshnode.host.blobhand import BlobHand
from meshnode.host.journal import JournalWriter
from meshnode.host.logreader import LogReader
from meshnode.host.loop import CoreLoop
from meshnode.host.renewing import Renewer
from meshnode.host.supervisor import Supervisor
from meshnode.host.transport import Transport
from meshnode.kernel.blobs import DropBlobs, KeepBlobs, ReadBlob
from meshnode.kernel.effects import Dial, Effect, GiveBack, Undial
from meshnode.links.messages import CloseLink, Transmit
from meshnode.links.tunnelwire import (
    PipeAwaited,
    PipeCredit,
    PipeGone,
    TunnelBytes,
    TunnelCredit,
    TunnelGone,
    TunnelStart,
)
from meshnode.node.effects import Announce, DrawEntropy, Exit, FetchLogs, Reply, Store, StreamItemTold
from meshnode.node.inputs import EntropyDrawn, Input, Stored, StoreFailed
from meshnode.sdk import pages
from meshnode.security.messages import IssueLeaf, RefuseEnrolment, RenewLeaf
from meshnode.wire.bus import Spread, ToAgent


class Hands:
    """Performs what the core wants. ``perform`` only starts work; outcomes come back through the loop."""

    transport: Transport
    journal: JournalWriter
    supervisor: Supervisor
    bus: AgentBus
    door: Door
    loop: CoreLoop
    blobs: BlobHand
    logs: LogReader
    renewer: Renewer

    def __init__(self) -> None:
        self.exit: Exit | None = None
        self.left = asyncio.Event()

    def tell(self, event: Input) -> None:
        self.loop.tell(event)

    def perform(self, effect: Effect) -> None:
        if type(effect) is Transmit:  # the most frequent first
            self.transport.transmit(effect)
            return
        if type(effect) is ToAgent:
            self.bus.perform(effect)
            return
        match effect:
            case CloseLink() | Dial() | Undial() | IssueLeaf() | RefuseEnrolment():
                self.transport.perform(effect)
            case TunnelBytes() | TunnelCredit() | TunnelStart() | TunnelGone():
                self.transport.tunnels.perform(effect)
            case PipeAwaited() | PipeCredit() | PipeGone():
                self.transport.pipes.perform(effect)
            case Store():
                self._store(effect)
            case Reply(command_no, view):
                self.door.reply(command_no, view)
            case Announce(number, event):
                self.door.announce(number, event)
            case StreamItemTold(command_no, number, payload):
                self.door.item(command_no, number, payload)
            case _:
                self._for_agents(effect)

    def _for_agents(self, effect: Effect) -> None:
        match effect:
            case WelcomeAgent():
                self.bus.perform(effect)
            case Spread():
                self._spread(effect)
            case StartProcess() | StopProcess():
                self.supervisor.perform(effect)
            case KeepBlobs() | ReadBlob() | DropBlobs():
                self.blobs.perform(effect)
            case FetchLogs():
                self.logs.perform(effect)
            case _:
                self._for_itself(effect)

    def _spread(self, effect: Spread) -> None:
        if effect.conns:
            self.bus.spread(effect)
        if effect.doors:
            self.door.spread(effect)

    def _for_itself(self, effect: Effect) -> None:
        match effect:
            case DrawEntropy(purpose, count):
                self.loop.tell(EntropyDrawn(purpose, secrets.token_bytes(count)))
            case GiveBack():
                pages.give_back()
            case RenewLeaf():
                self.renewer.perform(effect)
            case Exit():
                self.leave(effect)
            case _:
                raise AssertionError(f"an effect without a hand: {effect}")

    def _store(self, effect: Store) -> None:
        def done(error: Exception | None) -> None:
            number = effect.batch_no
            self.loop.tell(Stored(number) if error is None else StoreFailed(number, str(error)))

        self.journal.append(effect.records, done, idly=effect.idly, lazily=effect.lazily)

    def leave(self, effect: Exit) -> None:
        self.exit = self.exit or effect
        self.left.set()
