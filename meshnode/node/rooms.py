"""When each room is due: it is asked again only after something that may have changed its mind.

A turn touches one or two of a dozen rooms. Which ones an input or an effect may touch is a table (``TOUCHES``); what
has no line there may touch all. ``tests/unit/node/test_deadline.py`` asks every room after every event and compares.
"""

from collections.abc import Iterator, Sequence
from typing import Protocol

from meshnode.crdt.messages import DocumentChanged, EnvelopesKept
from meshnode.gossip.messages import Described, DialFailed, Discovered, MemberChanged, Reached, SoftChanged
from meshnode.kernel.effects import Channel, Dial, Effect, GiveBack, Hangup, Note, Persist, Reject, Send
from meshnode.kernel.instant import Instant
from meshnode.links.messages import (
    CloseLink,
    ControlReceived,
    FramesReceived,
    LinkBytes,
    LinkLost,
    LinkOpened,
    LinkRejected,
    Post,
    Transmit,
)
from meshnode.links.tunnelwire import (
    PipeAwaited,
    PipeCredit,
    PipeEnded,
    PipeGone,
    PipeRead,
    TunnelBytes,
    TunnelClosed,
    TunnelCredit,
    TunnelFailed,
    TunnelGone,
    TunnelReceived,
    TunnelStart,
    TunnelWritten,
)
from meshnode.messaging.messages import CallOverdue, ListensTo, Reach
from meshnode.model.commands import Apply
from meshnode.node.effects import Announce, Reply, Store, StreamItemTold
from meshnode.node.inputs import CommandGiven, CommandsGiven, Input, LoadSampled, Measured, Slept, Stored
from meshnode.scheduler.messages import ClaimsChanged
from meshnode.wire.bus import AgentFrames, Spread, ToAgent

NEVER = 2**63 - 1


class Room(Protocol):
    """What the core needs of each room to keep time for it."""

    def wake(self, now: Instant, /) -> Sequence[Effect]: ...

    def deadline(self) -> int | None: ...


# In the order in which they are woken: from the links up.
NAMES = (
    "hub", "gossip", "puts", "documents", "intentions", "agents", "checkpoints", "scheduler", "switch", "journals",
    "bundles", "offering", "succession", "commits", "proven", "watching", "tunnels", "renewal",
)  # fmt: skip
ALL = (1 << len(NAMES)) - 1


def _of(*names: str) -> int:
    return sum(1 << NAMES.index(name) for name in names)


HUB, SWITCH = NAMES.index("hub"), NAMES.index("switch")
_PLACEMENT = _of("checkpoints", "scheduler", "switch", "succession")
_PUT = _of("puts", "documents")
TOUCHES: dict[type[Input | Effect], int] = {
    # inputs
    CommandsGiven: _PUT,
    LinkBytes: _of("hub"), LinkOpened: _of("hub"), LinkLost: _of("hub"), AgentFrames: _of("switch"), Measured: 0,
    Stored: _of("commits", "journals"), LoadSampled: _of("gossip"), DialFailed: _of("gossip", "hub"),
    Discovered: _of("gossip"), Reached: _of("gossip"), Slept: _of("gossip"),
    TunnelWritten: 0, TunnelClosed: _of("tunnels"), PipeRead: _of("tunnels"), PipeEnded: _of("tunnels"),
    # effects that stay inside
    Send: _of("hub"), Post: _of("hub"), Hangup: _of("hub"), Persist: _of("commits", "puts"), Note: 0, Reject: 0,
    FramesReceived: _of("switch"), LinkRejected: _of("gossip"), MemberChanged: _PLACEMENT | _of("journals"),
    SoftChanged: _PLACEMENT,
    ListensTo: _of("gossip"), Spread: 0, ClaimsChanged: _of("offering", "gossip"), Reach: _of("gossip"),
    TunnelReceived: _of("tunnels"), TunnelFailed: _of("gossip"),
    CallOverdue: _of("gossip"), DocumentChanged: _of("documents", "intentions", "watching"),
    EnvelopesKept: _of("documents"),
    # effects for the host
    Transmit: 0, CloseLink: 0, Store: 0, Announce: 0, GiveBack: 0, Dial: _of("tunnels"), TunnelBytes: 0,
    TunnelCredit: 0, TunnelGone: 0, TunnelStart: 0, PipeAwaited: 0, PipeCredit: 0, PipeGone: 0, ToAgent: 0,
    StreamItemTold: 0, Reply: _of("switch"),
}  # fmt: skip
_CHANNELS = {
    Channel.GOSSIP: _of("gossip"), Channel.STATE: _of("documents"), Channel.CHECKPOINT: _of("checkpoints"),
    Channel.BUNDLE: _of("bundles"), Channel.CALL: 0, Channel.ENROL: 0,
}  # fmt: skip
_WOKEN = {
    "intentions": _of("bundles"), "offering": _of("gossip"), "succession": _of("checkpoints"),
}  # fmt: skip
# By room: itself, and those it speaks to without an effect when it is woken.
_WAKES = tuple(_of(name) | _WOKEN.get(name, 0) for name in NAMES)


def _touched_by(event: Input | Effect) -> int:
    """Where it is no matter of its kind alone."""
    match event:
        case ControlReceived(channel=channel):
            return _CHANNELS[channel]
        case Described(facts_only=facts_only):
            return 0 if facts_only else _of("documents")
        case CommandGiven(command=Apply()):
            return _PUT
        case _:
            return ALL


class Rooms:
    """The rooms of one node in the order of ``NAMES``, and what is known of their deadlines."""

    def __init__(self, rooms: Sequence[Room]) -> None:
        assert len(rooms) == len(NAMES), "one room a name"
        self.all = tuple(rooms)
        self._due = [NEVER] * len(NAMES)
        self._stale = ALL  # rooms to be asked again, one bit each
        self._loose = 0  # rooms that may be due later than is remembered; they are asked when that comes

    def touch(self, event: Input | Effect) -> None:
        """An input is about to be handled, or an effect to be carried."""
        touched = TOUCHES.get(type(event))
        self._stale |= _touched_by(event) if touched is None else touched

    def sooner(self, number: int, due_us: int) -> None:
        """A lone frame went straight through the hub or the switch, which may be due as soon as that, or later than
        before. To ask it each time would cost more than to be woken once for nothing."""
        self._due[number] = min(self._due[number], due_us)
        self._loose |= 1 << number

    def later(self, number: int) -> None:
        """It may be due later than before."""
        self._loose |= 1 << number

    def due(self, now_us: int) -> Iterator[Room]:
        """Those whose time has come, each once, and each looked at only when its turn comes: who is woken before may
        have told it something. They must be woken."""
        for number, room in enumerate(self.all):
            if (self._stale | self._loose if self._due[number] <= now_us else self._stale) >> number & 1:
                self._ask(number)
            if self._due[number] <= now_us:
                self._stale |= _WAKES[number]
                yield room

    def deadline(self) -> int | None:
        while self._stale:
            self._ask((self._stale & -self._stale).bit_length() - 1)
        first = min(self._due)
        return None if first == NEVER else first

    def are_due(self, now_us: int) -> bool:
        """Whether any is, now that those which may be due later have been asked."""
        if self._loose and min(self._due) <= now_us:
            self._stale |= self._loose
        first_us = self.deadline()
        return first_us is not None and first_us <= now_us

    def _ask(self, number: int) -> None:
        at_us = self.all[number].deadline()
        self._due[number] = NEVER if at_us is None else at_us
        self._stale &= ~(1 << number)
        self._loose &= ~(1 << number)
