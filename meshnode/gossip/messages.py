"""Inputs and facts of the gossip room. (Its wire messages live in ``gossip/letters.py``.)"""

import enum

import msgspec

from meshnode.kernel.effects import Fact
from meshnode.kernel.reasons import DialFailure
from meshnode.model.ids import NodeId


class MemberState(enum.StrEnum):
    READY = "ready"
    SUSPECT = "suspect"  # routing avoids it at once
    UNREACHABLE = "unreachable"  # silence; may be the cable
    DOWN = "down"  # somebody had proof that the process is gone
    LEFT = "left"


class DialFailed(msgspec.Struct, frozen=True):
    """The end of a Dial that opened no TLS link. ``address``: where it went, as people write it, if the host says."""

    dial_no: int
    how: DialFailure
    detail: str = ""
    address: str = ""


class Reached(msgspec.Struct, frozen=True):
    """The TCP connection of a Dial stands, TLS is under way: whoever is there, it is no black hole."""

    dial_no: int


class Discovered(msgspec.Struct, frozen=True):
    """An address somebody advertised on the LAN. Advisory: TLS decides who it is."""

    host: str
    port: int


class Publish(msgspec.Struct, frozen=True):
    """Set (or, with an empty value, withdraw) one of this node's soft facts."""

    key: str
    value: bytes


class Describe(msgspec.Struct, frozen=True):
    """This node's slow facts changed (hardware, endpoints): a new directory record is signed and spread."""

    facts: bytes  # JSON object, <= 4 KiB
    endpoints: tuple[tuple[str, int], ...]


class Doubted(msgspec.Struct, frozen=True):
    """A call to ``peer`` is missing its answer: start an indirect probe and a fresh dial now."""

    peer: NodeId


class Disturbed(msgspec.Struct, frozen=True):
    """This machine slept, its loop lagged or its network changed: void the samples, blame nobody for ``for_us``."""

    for_us: int


class Leave(msgspec.Struct, frozen=True):
    """Say goodbye: spread LEFT for this boot."""


class MemberChanged(Fact, frozen=True):
    """What this node holds true about another one has changed."""

    node: NodeId
    name: str
    state: MemberState
    reason: str  # for people: votes, evidence, age
    quiet: bool = False  # one of many changes of a shaky node: for routing, not to be announced


class Described(Fact, frozen=True):
    """A node's row is another one now: its hardware, its name, its region or its labels may be. ``facts_only``: nothing
    but its hardware may, and it was well before."""

    node: NodeId
    facts_only: bool = False


class SoftChanged(Fact, frozen=True):
    """A soft fact of a node changed; an empty value means withdrawn or expired."""

    node: NodeId
    key: str
    value: bytes
    version: int


class Twinned(Fact, frozen=True):
    """Proof that another live process uses our identity with a boot not older than ours."""

    reason: str
