"""The hands of a simulated process: what its core asks of the wires, the disk, its agents and whoever sits in front."""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.agents.messages import StartProcess, StopProcess, WelcomeAgent
from meshnode.kernel.blobs import DropBlobs, KeepBlobs, ReadBlob
from meshnode.kernel.effects import Dial, GiveBack
from meshnode.links.messages import CloseLink, Transmit
from meshnode.links.tunnelwire import TunnelBytes, TunnelCredit, TunnelGone, TunnelStart
from meshnode.model.views import LogsView
from meshnode.node.effects import Announce, DrawEntropy, Exit, FetchLogs, Reply, Store, StreamItemTold
from meshnode.node.inputs import EntropyDrawn, LogsFetched
from meshnode.wire.bus import ToAgent

if TYPE_CHECKING:
    from meshnode.kernel.effects import Effect
    from meshnode.sim.node import SimNode, Surroundings

BLOB_BYTES_A_US = 100  # what a flash disk writes


class Hands:
    """Of one machine, whichever process runs on it."""

    def __init__(self, node: SimNode, world: Surroundings) -> None:
        self._node, self._world = node, world

    def perform(self, effect: Effect) -> None:
        node, world = self._node, self._world
        match effect:
            case Transmit(link, data):  # the most frequent first
                for watcher in world.audience.transmitted:
                    watcher.transmitted(node)
                world.network.transmit(node, link, data)
            case CloseLink(link, abort):
                world.network.close(node, link, abort=abort)
            case Dial() | TunnelStart() | TunnelBytes() | TunnelCredit() | TunnelGone():
                world.network.perform(node, effect)
            case Store(batch_no, records, idly, lazily):
                node.journal.append(batch_no, records, patient=idly or lazily)
            case Reply(command_no, view):
                for watcher in world.audience.replied:
                    watcher.replied(node, command_no, view)
            case Announce():
                for watcher in world.audience.announced:
                    watcher.announced(node, effect)
            case StartProcess() | StopProcess() | ToAgent() | WelcomeAgent():
                node.agents.perform(effect)
            case Exit():
                node.leave(effect)
            case _:
                self._fetch(effect)

    def _fetch(self, effect: Effect) -> None:
        """What is answered by an input of its own."""
        node = self._node
        match effect:
            case KeepBlobs(_, blobs):
                size = sum(map(len, blobs))
                written = node.blobs.write(effect)
                node.after(node.commit_us() + size // BLOB_BYTES_A_US, lambda: node.tell(node.blobs.kept(written)))
            case ReadBlob():
                node.tell_later(node.blobs.read(effect))
            case DropBlobs(digests):
                node.blobs.drop(digests)
            case DrawEntropy(purpose, count):
                node.tell_later(EntropyDrawn(purpose, node.luck.randbytes(count)))
            case FetchLogs(ask_no):
                node.tell_later(LogsFetched(ask_no, LogsView(items=[])))  # simulated agents say nothing
            case StreamItemTold() | GiveBack():
                pass  # whoever asked counts the end; memory is the machine's that simulates
            case _:
                raise AssertionError(f"an effect without a hand: {effect}")
