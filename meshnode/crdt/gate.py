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
from meshnode.crdt.change import Bulk, ParsedChange
from meshnode.crdt.envelope import UNROOTED, Envelope, Pin, Unsealed
from meshnode.crdt.fields import COUNTED, RESERVED, is_canonical, sheet_of, stamp_of
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
# Several are asked about at once, a line each.
_PLAIN_TEXT = r'(?:"[^"\\\x00-\x1f]*"|-?[1-9][0-9]{0,17}|0|true|false|null|-?[1-9][0-9]{0,8}\.(?:0|[0-9]{0,5}[1-9]))'
_PLAIN_TEXTS = re.compile(rf"{_PLAIN_TEXT}(?:\n{_PLAIN_TEXT})*")
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


class KnownDoc(Protocol):
    """What the gate asks a document."""

    @property
    def names(self) -> tuple[str, str, str]: ...

    @property
    def pin(self) -> Pin: ...


class Known(Protocol):
    """What the gate asks the store."""

    def look(self, doc: DocId) -> KnownDoc | None: ...

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


class Unfit(RemoteError):
    """Refused for what its changes say: they were read, which costs more than anything else that is judged here."""


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
        unsealed = envelope.unframed(data)
        sender = unsealed.envelope
        doc, author = DocId(sender.doc), envelope.author_of(sender)
        here = known.look(doc)
        if here is None or here.names != sender.names:
            envelope.judge_names(sender)
        self.charge(via, now)
        key = self._key_of(author)
        self.judge_clock(sender.hlc, now)
        self._judge_policy(author, sender, via)
        _judge_generation(sender.pin, UNROOTED if here is None else here.pin)
        actor = envelope.actor_of(key, doc, sender.boot, sender.root)
        held = None if here is None else known.envelope_at(doc, actor, sender.seq)
        if held is not None and held.data == data:
            return None
        if not unsealed.is_signed(key, self._verifier):
            raise RemoteError("bad-signature")
        if held is not None:  # only a valid signature makes it evidence against the author
            raise Fork(doc, sender)
        if not self._authors.take(author, now):
            raise RemoteError("rate-author")
        try:
            return opened(unsealed, data, actor)
        except RemoteError as error:
            raise Unfit(error.reason, error.detail) from error

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
        return sender.hlc <= cut or self.may_write(via, sender.resource)


def opened(unsealed: Unsealed, data: bytes, actor: bytes | None) -> Admitted:
    """The changes inside, parsed and judged. ``actor`` ``None``: our own journal, judged when it was written."""
    sender = unsealed.envelope
    changes: list[ParsedChange] = []
    proven, bulk = True, Bulk()
    for seq, chunk in enumerate(sender.changes, sender.seq):
        each, is_usual = usual.parse(chunk)
        if actor is not None:
            if len(sender.changes) > 1:  # of one alone there is never too much
                bulk.add(each)
            if each.actor != actor:
                raise RemoteError("wrong-actor")
        if each.seq != seq:
            raise RemoteError("sequence", "the envelope names another number than its change")
        changes.append(each)
        proven &= is_usual
    if actor is not None:
        _judge_content(changes, sender)
        if sender.carried:
            _judge_carried(sender, changes)
    return admitted(sender, data, changes, proven=proven)


def admitted(sender: Envelope, data: bytes, changes: Sequence[ParsedChange], *, proven: bool) -> Admitted:
    """An envelope with its changes; judged by ``opened``, or written here."""
    sealed = Sealed(
        changes[-1].hash, envelope.author_of(sender), sender.hlc, data, sender.boot, sender.pin, tuple(sender.carried),
        tuple([each.hash for each in changes[:-1]]),
    )  # fmt: skip
    return Admitted(DocId(sender.doc), sender.kind, sender.namespace, sender.name, tuple(changes), sealed, proven)


def _judge_generation(theirs: Pin, ours: Pin) -> None:
    if theirs < ours:
        raise RemoteError("old-generation", f"{theirs[0]}, this document is in {ours[0]}")
    if theirs > ours:
        raise RemoteError("root-unknown", f"of generation {theirs[0]}, this document is in {ours[0]}")


def _judge_counters(keys: Sequence[str], author: NodeId) -> None:
    for key in keys:
        if key.startswith(COUNTED) and not may_set(key, author):
            raise RemoteError("counter-foreign", f"{key[:60]!r} is another node's part")


def _judge_carried(sender: Envelope, changes: Sequence[ParsedChange]) -> None:
    set_here = {(each.hash, key): None for each in changes for key in each.keys}
    for carry in sender.carried:
        if (carry.change, carry.key) not in set_here or carry.key in RESERVED:
            raise RemoteError("envelope-carried", f"field {carry.key[:60]!r}")


def _judge_content(changes: Sequence[ParsedChange], sender: Envelope) -> None:
    last = 0
    for each in changes:
        sheet = sheet_of(each.keys)
        if sheet.foul is not None:
            raise RemoteError("change-content", f"field {sheet.foul[:60]!r}")
        _judge_values(each)
        stamp = stamp_of(each)
        if stamp < last:
            raise RemoteError("stamp", "not the time of its envelope")
        last = stamp
        if sheet.counts:
            _judge_counters(each.keys, envelope.author_of(sender))
    if last != sender.hlc:
        raise RemoteError("stamp", "not the time of its envelope")


def _judge_values(change: ParsedChange) -> None:
    """Texts that are not plain are asked about one by one."""
    given = [value for value in change.values if value is not None]
    lines = "\n".join(given)
    if given and (lines.count("\n") >= len(given) or _PLAIN_TEXTS.fullmatch(lines) is None):
        for key, value in zip(change.keys, change.values, strict=True):
            if value is not None and not _is_canonical(value):
                raise RemoteError("change-content", f"field {key[:60]!r}")


def _is_canonical(value: str) -> bool:
    return _is_canonical_once(value) if len(value) <= _SHORT_TEXT else is_canonical(value)
