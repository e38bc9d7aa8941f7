"""Perishable facts with one writer: load, skills offered, instances. Newest version wins, silence lets them expire.

Each fact is signed by its owner and travels with its age, so that a copy handed on by a late neighbour dies with all
others: a repair never makes a dead node's facts young again. A newer boot of the owner drops the older one's.

Scope: for now facts go to all regions in full, which is meant for meshes of up to 64 nodes; summaries between regions
come with the catalogue.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import msgspec

from meshnode.gossip.config import GossipConfig
from meshnode.gossip.facts import (
    CONTEXT,
    KEY_CHARS_MAX,
    REFRESH_CONTEXT,
    VALUE_BYTES_MAX,
    FactBody,
    RefreshBody,
    batches,
    decode_fact,
    decode_refresh,
    encode_body,
    index_key,
)
from meshnode.gossip.letters import SignedFact, SoftRefresh, post
from meshnode.gossip.messages import SoftChanged
from meshnode.kernel.effects import Effect, Note
from meshnode.kernel.fingerprints import Fingerprints
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.ports import Signer, Trust, Verifier
from meshnode.kernel.rng import Random
from meshnode.kernel.timers import Timers
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

KEYS_MAX = 512  # per node, withdrawn ones included until they expire
FIRST_DELAY_US = 20 * MS  # facts published in one turn leave in one letter


@dataclass(slots=True)
class _Held:
    body: FactBody
    signed: bytes
    signature: bytes
    heard_us: int  # when the owner last stood by it, on our clock


@dataclass(slots=True)
class _Owner:
    boot: int
    beat: int = -1
    refresh: SoftRefresh | None = None
    refreshed_us: int = 0
    facts: dict[str, _Held] = field(default_factory=dict[str, _Held])


class SoftState:
    """All facts known here, and what each neighbour still has to be told."""

    def __init__(
        self,
        config: GossipConfig,
        *,
        signer: Signer,
        verifier: Verifier,
        trust: Trust,
        rng: Random,
        told_by: Callable[[NodeId, NodeId], bool],
    ) -> None:
        """``told_by(owner, peer)``: the owner has a link of its own to that neighbour of ours."""
        self._config = config
        self._signer, self._verifier, self._trust, self._rng = signer, verifier, trust, rng
        self._told_by = told_by
        self._owners: dict[NodeId, _Owner] = {config.node: _Owner(config.boot)}
        self._version = 0
        self._pending: dict[NodeId, dict[tuple[NodeId, str], None]] = {}
        self._flushed_us: dict[NodeId, int] = {}
        self._flush: Timers[NodeId] = Timers()
        self._expiry: Timers[NodeId] = Timers()
        self._refresh_due_us: int | None = None
        self.index = Fingerprints()

    # -- questions ----------------------------------------------------------------------------------------------------

    def facts(self, node: NodeId) -> dict[str, tuple[bytes, int, int]]:
        """(value, version, heard_us) by key; withdrawn keys left out."""
        owner = self._owners.get(node)
        held = owner.facts if owner else {}
        return {key: (h.body.value, h.body.version, h.heard_us) for key, h in held.items() if h.body.value}

    def pack(self, keys: Iterable[bytes], now: Instant) -> list[SignedFact]:
        """The facts of some index keys, ready to send."""
        found: list[SignedFact] = []
        for key in keys:
            held = self._find(key)
            if held is not None:
                found.append(self._letter(held, now))
        return found

    # -- our own ------------------------------------------------------------------------------------------------------

    def publish(self, key: str, value: bytes, now: Instant) -> list[Effect]:
        """Set or withdraw one of our facts; nothing is sent for an unchanged value."""
        mine = self._owners[self._config.node]
        held = mine.facts.get(key)
        if (held.body.value if held else b"") == value:
            return []
        if not 0 < len(key) <= KEY_CHARS_MAX or len(value) > VALUE_BYTES_MAX or (held is None and _full(mine)):
            return [Note(f"node/{self._config.name}", f"fact {key[:40]!r} not published: over the limits")]
        self._version += 1
        body = FactBody(self._config.node, self._config.boot, self._version, key, value)
        encoded = encode_body(body)
        self._put(mine, _Held(body, encoded, self._signer.sign(CONTEXT, encoded), now.mono_us))
        self._tell(body, now, source=None)
        if self._refresh_due_us is None:
            self._refresh_due_us = now.mono_us + self._refresh_pause_us()
        return [SoftChanged(body.node, key, value, body.version)]

    # -- letters ------------------------------------------------------------------------------------------------------

    def receive(self, peer: NodeId, fact: SignedFact, now: Instant) -> list[Effect]:
        """One fact from a neighbour. Raises ``RemoteError`` for what is not its owner's word."""
        body = decode_fact(fact.body)
        self._seen_by(peer, body)
        heard_us = now.mono_us - fact.age_ms * MS
        owner = self._owners.get(body.node)
        held = owner.facts.get(body.key) if owner and owner.boot == body.boot else None
        if held is not None and _order(held) >= (body.version, fact.body):
            return []
        if (owner is not None and body.boot < owner.boot) or heard_us <= now.mono_us - self._keep_us(body):
            return []
        if body.node == self._config.node:
            return []  # an old copy of ours, or a twin's: membership judges that by the rows
        self._check(body.node, CONTEXT, fact.body, fact.signature)
        owner, effects = self._owner(body.node, body.boot)
        if held is None and _full(owner):
            raise RemoteError("soft-too-many-keys")
        self._put(owner, _Held(body, fact.body, fact.signature, heard_us))
        self._tell(body, now, source=peer)
        return [*effects, SoftChanged(body.node, body.key, body.value, body.version)]

    def refreshed(self, peer: NodeId, letter: SoftRefresh, now: Instant) -> tuple[NodeId, list[Effect]]:
        """An owner stands by all its facts: keep them, and pass it on once. Returns who it was."""
        body = decode_refresh(letter.body)
        owner = self._owners.get(body.node)
        if owner is None or body.node == self._config.node or (body.boot, body.beat) <= (owner.boot, owner.beat):
            return body.node, []  # ours, known already, or about facts not held here
        heard_us = now.mono_us - letter.age_ms * MS
        if heard_us <= now.mono_us - self._config.soft_ttl_us:
            return body.node, []
        self._check(body.node, REFRESH_CONTEXT, letter.body, letter.signature)
        owner, effects = self._owner(body.node, body.boot)
        owner.beat, owner.refresh, owner.refreshed_us = body.beat, letter, heard_us
        for held in owner.facts.values():
            if held.body.value:
                held.heard_us = max(held.heard_us, heard_us)
        for other in self._pending:
            if other not in (peer, body.node) and not self._told_by(body.node, other):
                effects.append(post(other, letter))
        return body.node, effects

    def proof_us(self, node: NodeId) -> int | None:
        """When the owner last signed something we hold."""
        owner = self._owners.get(node)
        if owner is None or node == self._config.node:
            return None
        return max((*(h.heard_us for h in owner.facts.values()), owner.refreshed_us), default=None) or None

    # -- neighbours and owners ----------------------------------------------------------------------------------------

    def up(self, peer: NodeId, now: Instant) -> list[Effect]:
        """A new neighbour: the repair brings the facts, the refreshes say how old they are."""
        self._pending[peer] = {}
        effects: list[Effect] = []
        mine = self._owners[self._config.node]
        if mine.facts and (mine.refresh is None or mine.refreshed_us < now.mono_us - 10 * SECOND):
            self._sign_refresh(mine, now)
        for node, owner in self._owners.items():
            age_us = now.mono_us - owner.refreshed_us
            if owner.refresh is not None and node != peer and age_us < self._config.soft_ttl_us:
                effects.append(post(peer, msgspec.structs.replace(owner.refresh, age_ms=age_us // MS)))
        return effects

    def down(self, peer: NodeId) -> None:
        self._pending.pop(peer, None)
        self._flushed_us.pop(peer, None)
        self._flush.cancel(peer)

    def drop(self, node: NodeId, boot: int) -> list[Effect]:
        """Forget the facts of every boot before ``boot``, and take none of them again."""
        owner = self._owners.get(node)
        if node == self._config.node or (owner is not None and owner.boot >= boot):
            return []
        self._owners[node] = _Owner(boot)
        self._expiry.cancel(node)
        return [effect for held in (owner.facts if owner else {}).values() for effect in self._remove(held)]

    # -- time ---------------------------------------------------------------------------------------------------------

    def wake(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for peer in self._flush.pop_due(now.mono_us):
            effects += self._send_pending(peer, now)
        for node in self._expiry.pop_due(now.mono_us):
            effects += self._expire(node, now)
        if self._refresh_due_us is not None and self._refresh_due_us <= now.mono_us:
            effects += self._refresh(now)
        return effects

    def deadline(self) -> int | None:
        return earliest(self._flush.deadline(), self._expiry.deadline(), self._refresh_due_us)

    def _refresh(self, now: Instant) -> list[Effect]:
        mine = self._owners[self._config.node]
        for key in [k for k, h in mine.facts.items() if not h.body.value and self._over(h, now)]:
            self._remove(mine.facts.pop(key))
        self._refresh_due_us = now.mono_us + self._refresh_pause_us() if mine.facts else None
        if not any(held.body.value for held in mine.facts.values()):
            return []
        letter = self._sign_refresh(mine, now)
        return [post(peer, letter) for peer in self._pending]

    def _sign_refresh(self, mine: _Owner, now: Instant) -> SoftRefresh:
        mine.beat += 1
        body = encode_body(RefreshBody(self._config.node, self._config.boot, mine.beat))
        mine.refresh = SoftRefresh(0, body, self._signer.sign(REFRESH_CONTEXT, body))
        mine.refreshed_us = now.mono_us
        return mine.refresh

    def _refresh_pause_us(self) -> int:
        return round(self._config.soft_refresh_us * (1.0 - 0.1 * self._rng.random()))

    def _expire(self, node: NodeId, now: Instant) -> list[Effect]:
        owner = self._owners[node]
        effects: list[Effect] = []
        for key in [k for k, h in owner.facts.items() if self._over(h, now)]:
            effects += self._remove(owner.facts.pop(key))
        self._watch(node, owner)
        return effects

    def _over(self, held: _Held, now: Instant) -> bool:
        return held.heard_us + self._keep_us(held.body) <= now.mono_us

    def _keep_us(self, body: FactBody) -> int:
        """A withdrawal outlives every copy of what it withdraws."""
        return self._config.soft_ttl_us * (1 if body.value else 2)

    def _watch(self, node: NodeId, owner: _Owner) -> None:
        if node != self._config.node and owner.facts:
            self._expiry.set(node, min(held.heard_us + self._keep_us(held.body) for held in owner.facts.values()))

    # -- the store ----------------------------------------------------------------------------------------------------

    def _owner(self, node: NodeId, boot: int) -> tuple[_Owner, list[Effect]]:
        """The record of an owner at a boot that is not older than the one known."""
        effects = self.drop(node, boot)
        return self._owners[node], effects

    def _put(self, owner: _Owner, held: _Held) -> None:
        body = held.body
        owner.facts[body.key] = held
        self.index.put(index_key(body), body.boot.to_bytes(8) + body.version.to_bytes(8))
        self._watch(body.node, owner)

    def _remove(self, held: _Held) -> list[Effect]:
        body = held.body
        self.index.remove(index_key(body))
        return [SoftChanged(body.node, body.key, b"", body.version)] if body.value else []

    def _find(self, key: bytes) -> _Held | None:
        owner = self._owners.get(NodeId(key[:32]))
        return owner.facts.get(key[32:].decode(errors="replace")) if owner else None

    def _check(self, node: NodeId, context: str, body: bytes, signature: bytes) -> None:
        member = self._trust.member(node)
        if member is None:
            raise RemoteError("soft-unknown-member")
        if not self._verifier.verify(member.public_key, context, body, signature):
            raise RemoteError("soft-forged")

    # -- what neighbours lack -----------------------------------------------------------------------------------------

    def _tell(self, body: FactBody, now: Instant, source: NodeId | None) -> None:
        for peer, pending in self._pending.items():
            skip = peer in (source, body.node) or (source is not None and self._told_by(body.node, peer))
            if not skip:
                pending[body.node, body.key] = None
                if peer not in self._flush:
                    last = self._flushed_us.get(peer, -self._config.soft_batch_us)
                    self._flush.set(peer, max(now.mono_us + FIRST_DELAY_US, last + self._config.soft_batch_us))

    def _seen_by(self, peer: NodeId, body: FactBody) -> None:
        """What a neighbour sends it need not be sent, unless ours is newer."""
        pending = self._pending.get(peer)
        held = self._find(index_key(body))
        if pending and held is not None and held.body.version <= body.version:
            pending.pop((body.node, body.key), None)

    def _send_pending(self, peer: NodeId, now: Instant) -> list[Effect]:
        pending = self._pending[peer]
        held = [self._owners[node].facts.get(key) for node, key in pending if node in self._owners]
        pending.clear()
        self._flushed_us[peer] = now.mono_us
        return batches(peer, [self._letter(h, now) for h in held if h is not None])

    def _letter(self, held: _Held, now: Instant) -> SignedFact:
        own = held.body.node == self._config.node
        age_us = 0 if own and held.body.value else max(0, now.mono_us - held.heard_us)
        return SignedFact(age_us // MS, held.signed, held.signature)


def _full(owner: _Owner) -> bool:
    return len(owner.facts) >= KEYS_MAX


def _order(held: _Held) -> tuple[int, bytes]:
    return (held.body.version, held.signed)
