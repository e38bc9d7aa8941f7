"""Everything that may be told to the core. One union, one door: ``Core.handle``."""

import msgspec

from meshnode.agents.messages import (
    AgentGone,
    AgentRegistered,
    ProcessesFound,
    ProcessExited,
    ProcessFailed,
    ProcessStarted,
)
from meshnode.gossip.messages import DialFailed, Discovered, Reached
from meshnode.kernel.blobs import BlobRead, BlobsKept
from meshnode.links.messages import LinkBytes, LinkLost, LinkOpened
from meshnode.links.tunnelwire import PipeEnded, PipeRead, TunnelClosed, TunnelWritten
from meshnode.model.commands import AnyCommand
from meshnode.model.views import Failure, LogsView
from meshnode.security.messages import EnrolmentAsked, LeafRenewed, RenewalFailed, RenewalWanted
from meshnode.wire.bus import AgentFrames


class CommandGiven(msgspec.Struct, frozen=True):
    """A door asks. ``command_no`` comes back in exactly one ``Reply``."""

    command_no: int
    command: AnyCommand


class CommandsGiven(msgspec.Struct, frozen=True):
    """Doors ask for several things of one kind in one turn, which are done together."""

    commands: tuple[CommandGiven, ...]


class CommandDropped(msgspec.Struct, frozen=True):
    """Whoever asked is gone; the reply goes nowhere."""

    command_no: int


class StreamWanted(msgspec.Struct, frozen=True):
    """Whoever asked takes items of the streaming call ``command_no`` numbered below ``total``; it only grows."""

    command_no: int
    total: int


class TopicsWanted(msgspec.Struct, frozen=True):
    """A door listens to these topics from now on, and to nothing else; none = it is closed. They were checked."""

    door: int
    filters: tuple[str, ...]


class Stored(msgspec.Struct, frozen=True):
    """The commit that holds batch ``batch_no`` is durable."""

    batch_no: int


class StoreFailed(msgspec.Struct, frozen=True):
    """Batch ``batch_no`` is not durable and will not be."""

    batch_no: int
    error: str


class EntropyDrawn(msgspec.Struct, frozen=True):
    """The answer to ``DrawEntropy``."""

    purpose: int
    entropy: bytes


class HardwareProbed(msgspec.Struct, frozen=True):
    """What this machine is, as a JSON object of at most 4 KiB."""

    facts: bytes


class LoadSampled(msgspec.Struct, frozen=True):
    """The live load vector (13 bytes, see hw.load) after smoothing, told only when it moved out of its dead band."""

    vector: bytes


class Slept(msgspec.Struct, frozen=True):
    """The machine was suspended, or the loop stood still, for this long: silence proves nothing about peers."""

    for_us: int


class Measured(msgspec.Struct, frozen=True):
    """What the host knows of its own work, at most every few seconds."""

    handle_max_us: int
    journal_bytes: int
    quarantined: int
    journal_failed: str = ""  # why nothing can be stored now
    counters: dict[str, int] = {}  # of the sockets: refusals before there is a link


class LogsFetched(msgspec.Struct, frozen=True):
    """The answer to ``FetchLogs``."""

    ask_no: int
    view: LogsView | Failure


Input = (
    CommandGiven
    | CommandsGiven
    | CommandDropped
    | StreamWanted
    | TopicsWanted
    | Stored
    | StoreFailed
    | EntropyDrawn
    | HardwareProbed
    | LoadSampled
    | Slept
    | Measured
    | LinkOpened
    | LinkBytes
    | LinkLost
    | TunnelWritten
    | TunnelClosed
    | PipeRead
    | PipeEnded
    | DialFailed
    | Reached
    | Discovered
    | ProcessesFound
    | ProcessStarted
    | ProcessFailed
    | ProcessExited
    | AgentRegistered
    | AgentGone
    | AgentFrames
    | EnrolmentAsked
    | RenewalWanted
    | LeafRenewed
    | RenewalFailed
    | BlobsKept
    | BlobRead
    | LogsFetched
)
