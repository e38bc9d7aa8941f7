"""Judges a peer's envelope before any of it touches a document: cheap checks first, the signature late, changes last.

The transport peer pays for what it brings before the signature is known; the author pays only after, so that a relay
cannot spend somebody else's allowance with forgeries.
"""

import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Protocol

import msgspec

from meshnode.crdt import envelope, usual
from meshnode.crdt.change import ParsedChange
from meshnode.crdt.envelope import Envelope, Pin, Unsealed
from meshnode.crdt.fields import RESERVED, is_canonical, is_field_name, stamp_of
from meshnode.crdt.history import Sealed
from meshnode.crdt.kinds import may_set
from meshnode.crdt.rates import Rates
from meshnode.kernel.hlc import AHEAD_MAX_MS, wall_ms
from meshnode.kernel.instant import ClockTrust, Instant
from meshnode.kernel.ports import Action, Authority, Signer, Trust, Verifier
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId, NodeId

ATTEST_CONTEXT = "root/v1"
# Up to which hybrid time an author that may not write a resource any more might do so; ``None``: it never might.
Until = Callable[[NodeId, str], int | None]
# Texts that are canonical as they stand, as nearly all are: plain strings, whole numbers and those with few digits.
_PLAIN_TEXT = re.compile(
    r'"[^"\\\x00-\x1f]*"|-?[1-9][0-9]{0,17}|0|true|false|null|-?[1-9][0-9]{0,8}\.(?:0|[0-9]{0,5}[1-9])'
)
_COUNTED = "count:"  # how the name of every counter's part begins
_SHORT_TEXT = 128  # characters; verdicts about texts up to this are remembered
_is_canonical_once = lru_cache(4096)(is_canonical)


class Admitted(msgspec.Struct, frozen=True, gc=False):
    """An envelope that passed every check that needs no document.

    ``proven``: all its changes are in the form the engine writes itself (``usual.py``).
    """

    doc: DocId
    kind: str
    namespace: str
    name: str
    changes: tuple[ParsedChange, ...]
    sealed: Sealed
    proven: bool = False

    @property
    def pin(self) -> Pin:
        return self.sealed.pin


class Known(Protocol):
    """What the gate asks the store."""

    def envelope_at(self, doc: DocId, actor: bytes, seq: int) -> Sealed | None:
        """The envelope in which an actor made its change of this number."""
        ...

    def pin(self, doc: DocId) -> Pin:
        """Generation and root of a document."""
        ...


class Fork(RemoteError):
    """Proof, signed by its author, that two different writes carry one sequence number."""

    def __init__(self, doc: DocId, sender: Envelope) -> None:
        super().__init__("fork", f"{sender.resource} sequence {sender.seq}")
        self.doc, self.author, self.boot = doc, envelope.author_of(sender), sender.boot


class Gate:
    """The order of checks, in one place."""

    def __init__(
        self, *, signer: Signer, verifier: Verifier, authority: Authority, trust: Trust, peers: Rates, authors: Rates
    ) -> None:
        self._signer = signer
        self._verifier = verifier
        self._authority = authority
        self._trust = trust
        self._peers = peers
        self._authors = authors
        self.until: Until = lambda _author, _resource: None

    def admit(self, data: bytes, via: NodeId, known: Known, now: Instant) -> Admitted | None:
        """``None``: we hold it already. Raises ``RemoteError`` with the name of the refusal."""
        unsealed = envelope.unseal(data)
        author = envelope.author_of(unsealed.envelope)
        self.charge(via, now)
        key = self._key_of(author)
        self.judge_clock(unsealed.envelope.hlc, now)
        self._judge_policy(author, unsealed.envelope, via)
        doc = DocId(unsealed.envelope.doc)
        _judge_generation(unsealed.envelope.pin, known.pin(doc))
        actor = envelope.actor_of(key, doc, unsealed.envelope.boot, unsealed.envelope.root)
        held = known.envelope_at(doc, actor, unsealed.envelope.seq)
        if held is not None and held.data == data:
            return None
        if not unsealed.is_signed(key, self._verifier):
            raise RemoteError("bad-signature")
        if held is not None:  # only a valid signature makes it evidence against the author
            raise Fork(doc, unsealed.envelope)
        if not self._authors.take(author, now):
            raise RemoteError("rate-author")
        return opened(unsealed, data, actor)

    def charge(self, via: NodeId, now: Instant) -> None:
        """The transport peer pays for what it brings. Raises ``RemoteError``."""
        if not self._peers.take(via, now):
            raise RemoteError("rate-peer")

    def judge_clock(self, hlc: int, now: Instant) -> None:
        # A machine that booted in 1970 cannot tell who is ahead; it would refuse the whole mesh.
        if now.trust != ClockTrust.FLOOR and wall_ms(hlc) > now.wall_ms + AHEAD_MAX_MS:
            raise RemoteError("hlc-ahead", f"{wall_ms(hlc) - now.wall_ms} ms")

    def prove(self, unsealed: Unsealed) -> None:
        """The signature of an envelope inside a root. An author nobody here knows any more is left to who attests it:
        members leave, and what they wrote stays. Raises ``RemoteError``."""
        author = envelope.author_of(unsealed.envelope)
        try:
            key = self._key_of(author)
        except RemoteError:
            return
        if not unsealed.is_signed(key, self._verifier):
            raise RemoteError("root-unproven", "a signature")

    def is_fork(self, unsealed: Unsealed, data: bytes, known: Known) -> bool:
        """Whether an envelope inside a root, signature proven, has the number of another one that is here."""
        sender = unsealed.envelope
        doc = DocId(sender.doc)
        if sender.pin != known.pin(doc):
            return False
        try:
            actor = envelope.actor_of(self._key_of(envelope.author_of(sender)), doc, sender.boot, sender.root)
        except RemoteError:
            return False
        held = known.envelope_at(doc, actor, sender.seq)
        return held is not None and held.data != data

    def attests(self, node: NodeId, body: bytes, signature: bytes) -> bool:
        """Whether a known member signed for a root."""
        try:
            return self._verifier.verify(self._key_of(node), ATTEST_CONTEXT, body, signature)
        except RemoteError:
            return False

    def may_write(self, node: NodeId, resource: str) -> bool:
        return self._authority.may(node, Action.WRITE, resource).allowed

    def _key_of(self, author: NodeId) -> bytes:
        if author == self._signer.node:
            return self._signer.public_key  # what we wrote in an earlier boot and lost comes back from peers
        member = self._trust.member(author)
        if member is None:
            raise RemoteError("unknown-member", author.hex()[:12])
        return member.public_key

    def _judge_policy(self, author: NodeId, sender: Envelope, via: NodeId) -> None:
        verdict = self._authority.may(author, Action.WRITE, sender.resource)
        if not verdict.allowed and not self._might(author, sender, via):
            raise RemoteError("denied", f"{sender.resource}: {verdict.reason}")

    def _might(self, author: NodeId, sender: Envelope, via: NodeId) -> bool:
        """What it wrote before its authority shrank stays. What it wrote since comes in by nobody but a member who may
        write it himself, and had it before he knew: he might as well have written it, and all come to hold the same."""
        cut = self.until(author, sender.resource)
        if cut is None:
            return False
        return sender.hlc <= cut or (via != author and self.may_write(via, sender.resource))


def opened(unsealed: Unsealed, data: bytes, actor: bytes | None) -> Admitted:
    """The changes inside, parsed and judged. ``actor`` ``None``: our own journal, judged when it was written."""
    sender = unsealed.envelope
    parsed = [usual.parse(chunk) for chunk in sender.changes]
    changes = tuple([each for each, _ in parsed])
    for number, each in enumerate(changes):
        if actor is not None and each.actor != actor:
            raise RemoteError("wrong-actor")
        if each.seq != sender.seq + number:
            raise RemoteError("sequence", "the envelope names another number than its change")
    if actor is not None:
        if _judge_content(changes, sender.hlc):
            _judge_counters(changes, envelope.author_of(sender))
        _judge_carried(sender, changes)
    return admitted(sender, data, changes, proven=all(is_usual for _, is_usual in parsed))


def admitted(sender: Envelope, data: bytes, changes: Sequence[ParsedChange], *, proven: bool) -> Admitted:
    """An envelope with its changes; judged by ``opened``, or written here."""
    hashes = tuple(each.hash for each in changes)
    carried = tuple(sender.carried)
    sealed = Sealed(hashes[-1], hashes, envelope.author_of(sender), sender.hlc, data, sender.boot, sender.pin, carried)
    return Admitted(DocId(sender.doc), sender.kind, sender.namespace, sender.name, tuple(changes), sealed, proven)


def _judge_generation(theirs: Pin, ours: Pin) -> None:
    if theirs < ours:
        raise RemoteError("old-generation", f"{theirs[0]}, this document is in {ours[0]}")
    if theirs > ours:
        raise RemoteError("root-unknown", f"of generation {theirs[0]}, this document is in {ours[0]}")


def _judge_counters(changes: Sequence[ParsedChange], author: NodeId) -> None:
    for each in changes:
        for op in each.ops:
            if op.key.startswith(_COUNTED) and not may_set(op.key, author):
                raise RemoteError("counter-foreign", f"{op.key[:60]!r} is another node's part")


def _judge_carried(sender: Envelope, changes: Sequence[ParsedChange]) -> None:
    if not sender.carried:
        return
    set_here = {(each.hash, op.key): None for each in changes for op in each.ops}
    for carry in sender.carried:
        if (carry.change, carry.key) not in set_here or carry.key in RESERVED:
            raise RemoteError("envelope-carried", f"field {carry.key[:60]!r}")


def _judge_content(changes: Sequence[ParsedChange], hlc: int) -> bool:
    """Whether it writes counters."""
    counts = False
    for each in changes:
        for op in each.ops:
            sort, value = _sort_of(op.key), op.value
            if sort is None or not (value is None or _PLAIN_TEXT.fullmatch(value) or _is_canonical(value)):
                raise RemoteError("change-content", f"field {op.key[:60]!r}")
            counts |= sort
    stamps = [stamp_of(each) for each in changes]
    if stamps[-1] != hlc or (len(stamps) > 1 and stamps != sorted(stamps)):
        raise RemoteError("stamp", "not the time of its envelope")
    return counts


@lru_cache(4096)
def _sort_of(key: str) -> bool | None:
    """Whether a field is a part of a counter; ``None``: it is no name of a field."""
    return key.startswith(_COUNTED) if is_field_name(key) else None


def _is_canonical(value: str) -> bool:
    return _is_canonical_once(value) if len(value) <= _SHORT_TEXT else is_canonical(value)
