"""Questions one room may ask another: Protocols, implemented by a sibling and handed over by ``node.Core``.

Facts travel through ``node/stairs.py``; no question becomes a round trip of events.
"""

import enum
from collections.abc import Sequence
from typing import Protocol

import msgspec

from meshnode.kernel.instant import Instant
from meshnode.model.ids import InstanceId, NodeId


class Action(enum.StrEnum):
    """What somebody may be allowed to do."""

    WRITE = "write"  # a document; resource "kind/namespace/name"
    CALL = "call"  # a skill; resource "skill/NAME"
    RUN = "run"  # an agent on one's own node; resource "agent/NAME"
    INVITE = "invite"
    PUBLISH = "publish"  # soft state about oneself; events, resource "topic/a/b"
    SUBSCRIBE = "subscribe"  # to events; resource "topic/a/b", for filters what they have in common
    READ = "read"  # what a node keeps for readers; resource "journal"

    __hash__ = str.__hash__  # that of an enum is Python, and verdicts are remembered by action


class Verdict(msgspec.Struct, frozen=True):
    """The answer of the policy. ``reason`` is a name, shown and counted."""

    allowed: bool
    reason: str


class Authority(Protocol):
    """Who may do what. Deny by default: an unknown subject may do nothing."""

    def may(self, subject: NodeId, action: Action, resource: str) -> Verdict: ...


class Signer(Protocol):
    """This node's Ed25519 record key. Deterministic: equal input gives equal signatures."""

    @property
    def node(self) -> NodeId: ...

    @property
    def public_key(self) -> bytes:
        """32 raw bytes; ``node`` is its SHA-256."""
        ...

    def sign(self, context: str, body: bytes) -> bytes:
        """64 bytes over ``context`` (what kind of thing is signed) and ``body``."""
        ...


class Verifier(Protocol):
    """Judges Ed25519 signatures. A port of its own, so that a planted fault can show what would happen without it."""

    def verify(self, public_key: bytes, context: str, body: bytes, signature: bytes) -> bool: ...


class Member(msgspec.Struct, frozen=True, gc=False):
    """What an admin signed about one node. ``record`` is the signed record itself, carried as is."""

    node: NodeId
    name: str
    public_key: bytes
    roles: tuple[str, ...]
    region: str
    labels: dict[str, str]
    record: bytes


class Trust(Protocol):
    """Reads member records: the door through which gossip and documents learn who somebody is."""

    def admit(self, record: bytes) -> Member | str:
        """Check an admin-signed member record and remember it. The name of the refusal otherwise."""
        ...

    def member(self, node: NodeId) -> Member | None: ...


class LinkStats(Protocol):
    """What the links know about direct peers; fed by every byte received."""

    def peers(self) -> Sequence[NodeId]:
        """Peers with a link that is up, in the order in which they came up."""
        ...

    def last_heard_us(self, peer: NodeId) -> int | None: ...

    def rtt_us(self, peer: NodeId) -> int | None: ...


class RegionOffer(msgspec.Struct, frozen=True):
    """What another region says it has of a skill or capability. ``amount``: "none", "some" or "many" nodes offer it.

    ``best``: the best class of machine among them, for people. ``age_us``: since the region last stood by it.
    ``bridges``: nodes of that region that can be asked for detail, the nearest first; empty while none is reachable.
    """

    region: str
    amount: str
    best: str
    age_us: int
    bridges: tuple[NodeId, ...]


class Catalogue(Protocol):
    """Which other regions offer what. A region whose facts this node holds in full is not among them."""

    def regions_of(self, skill: str, now_us: int) -> Sequence[RegionOffer]:
        """``skill``: a name, or ``cap/TAG``. Regions with "none" are left out; best amount first."""
        ...

    def silent(self, now_us: int) -> Sequence[str]:
        """Regions with members that nobody has said anything of yet, sorted: what they offer is not known. Those whose
        facts this node holds in full are not among them."""
        ...


class Beyond(Protocol):
    """The regions whose facts this node does not hold. ``node``: the only one that may answer, ``None`` = any."""

    def open(self, address: str, node: NodeId | None, now: Instant, /) -> bool:
        """Somebody further away may answer ``address`` and is being asked, or can be: it is worth waiting for."""
        ...

    def why(self, address: str, node: NodeId | None, now: Instant, /) -> tuple[str, str] | None:
        """Code and message: why nobody there answers now. ``None``: nothing is there, as far as anybody knows."""
        ...


class StoredAnswer(msgspec.Struct, frozen=True):
    """What a call answered that carried an idempotency key. ``payload``: its JSON.

    ``kept`` False: the call has run and must not run again, but its answer was too big, or is too old, to be kept.
    """

    payload: bytes
    durability: str
    version: int
    kept: bool = True


class Answers(Protocol):
    """The states of this node's units, as far as repeated calls go."""

    def answered(self, unit: InstanceId, key: str) -> StoredAnswer | None:
        """The answer kept under an idempotency key; ``None``: the call has not run, as far as this state knows."""
        ...


class Liveness(Protocol):
    """What membership knows."""

    def members(self) -> Sequence[NodeId]:
        """All nodes of the directory, this one included, sorted; tombstones left out."""
        ...

    def reachable(self, node: NodeId) -> bool:
        """Worth sending a call to now: alive and not suspected."""
        ...
