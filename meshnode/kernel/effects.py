"""What machines ask for. Rooms share these; each room adds its own in its ``messages`` or noun file.

An ``Effect`` is a request to the floors around (performed by the core or the host). A ``Fact`` is an effect too: it
says what happened, and ``node/stairs.py`` carries it to the rooms that care.
"""

import enum

import msgspec

from meshnode.kernel.records import Record
from meshnode.model.ids import NodeId


class Effect(msgspec.Struct, frozen=True):
    """Something a machine wants done."""


class Fact(Effect, frozen=True):
    """Something a machine found out."""


class Channel(enum.IntEnum):
    """Which room a control message between two nodes belongs to."""

    GOSSIP = 1
    STATE = 2
    CALL = 3
    ENROL = 4
    CHECKPOINT = 5
    BUNDLE = 6


class Send(Effect, frozen=True):
    """A control message to a peer with a link that is up; without one it is dropped and counted.

    ``patient``: it may wait some two seconds for the next thing that is written on this link, a ping at the latest.
    """

    peer: NodeId
    channel: Channel
    body: bytes
    patient: bool = False


class Persist(Effect, frozen=True):
    """Append ``records``; perform ``then`` only after the commit that holds them. Nothing else waits.

    ``lazily``: whoever asked for it was told that a power cut may take it back; the commit may be seconds away.
    """

    records: tuple[Record, ...]
    then: tuple[Effect, ...] = ()
    lazily: bool = False


class Dial(Effect, frozen=True):
    """Open a link to ``host:port``. ``expect`` (if known) must be who answers. Ends in PeerUp or DialFailed."""

    dial_no: int
    host: str
    port: int
    expect: NodeId = NodeId(b"")


class Undial(Effect, frozen=True):
    """Give up a dial whose connection stands, before it costs both a handshake. Nothing is told of it any more."""

    dial_no: int


class GiveBack(Effect, frozen=True):
    """Much memory that was needed for a while is free again: the host may return it to the system."""


class Hangup(Effect, frozen=True):
    """Close every link to ``peer``, telling it why. ``reason`` is a name from kernel.reasons."""

    peer: NodeId
    reason: str


class Reject(Effect, frozen=True):
    """Bytes of ``peer`` were refused. Counted by ``reason``; never fatal for the link by itself."""

    peer: NodeId
    reason: str
    detail: str = ""


class Note(Effect, frozen=True):
    """An event worth telling in ``meshnode why``: kept in the journal under its byte budget.

    ``idly``: what it tells is durable already, or nobody acts on it: it may wait a moment for a commit to ride with.
    ``lazily``: what it tells is itself not durable for seconds.
    """

    subject: str  # "node/NAME", "agent/NAME", "cluster/NS/NAME", "call/ID"
    text: str
    idly: bool = False
    lazily: bool = False
