"""Perishable facts with one writer: load, skills offered, instances. Newest version wins, silence lets them expire.

Each fact is signed by its owner and travels with its age, so that a copy handed on by a late neighbour dies with all
others: a repair never makes a dead node's facts young again. A newer boot of the owner drops the older one's.

Scope (``scope.py``): in a small mesh all facts go everywhere; in a large one what concerns a region goes to its nodes
only. A fact of scope mesh then lives outside its region as long as membership does not hold its owner gone: ten
thousand owners cannot stand by their facts to everybody every minute.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from meshnode.gossip.budget import Budgets, Kind
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.facts import (
    CONTEXT,
    KEY_CHARS_MAX,
    REFRESH_CONTEXT,
    VALUE_BYTES_MAX,
    FactBody,
    RefreshBody,
    batches,
    decode_refresh,
    encode_body,
    opened,
)
from meshnode.gossip.letters import BATCH_BYTES, SignedFact, SoftBatch, SoftRefresh, post
from meshnode.gossip.messages import SoftChanged
from meshnode.gossip.outbox import REFRESH, Mark, Outbox
from meshnode.gossip.owners import Held, Owner, Owners, Stand
from meshnode.gossip.paths import FLOW, Paths, Surveys
from meshnode.gossip.paths import LATE_US as LONG_AGO_US
from meshnode.gossip.scope import MESH, Scope
from meshnode.kernel.effects import Effect, Note
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.ports import Signer, Trust, Verifier
from meshnode.kernel.rng import Random
from meshnode.kernel.slots import Slots
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

PENDING_BYTES_MAX = 64 * 1024  # for one neighbour in one turn
KEYS_MAX = 512  # per node, withdrawn ones included until they expire
STOOD_US = 10 * SECOND  # whoever signed a fact so lately need not say on a new link that it stands by all of them
FEW_OWNERS = 25  # of so many each refreshes at its own pace, of more less often
LATE_US = SECOND // 4  # so late a fact may expire
LETTER_BYTES = 80  # of a fact around its body: signature, age, frames


@dataclass(slots=True)
class _Tally:
    """What one letter brought of others than its sender."""

    copied: bool = False  # a survey that came over another link
    missed: bool = False  # what should have come over another link


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
        scope: Scope | None = None,
        gone: Callable[[NodeId], bool] = lambda _: False,
        budgets: Budgets | None = None,
    ) -> None:
        """``told_by(owner, peer)``: the owner has a link of its own to that neighbour of ours. ``gone``: membership
        holds a node down or left. Without a ``scope`` all facts go everywhere."""
        self._config = config
        self._signer, self._verifier, self._trust, self._rng = signer, verifier, trust, rng
        self._told_by = told_by
        self.index = self._owners = Owners()
        self._mine, _ = self._owners.begin(config.node, config.boot)
        self._version = 0
        self._gone, self._budgets = gone, budgets or Budgets(config.profile)
        self._outbox, self._tally = Outbox(config.soft_batch_us), _Tally()
        self._expiry: Slots[NodeId] = Slots(LATE_US)
        self._refresh_due_us: int | None = None
        self.scope = scope or Scope(config.node, region_of=lambda _: MESH, small=lambda: True, whole=False)
        self._paths, self._surveys = Paths(self.scope.alike), Surveys()

    # -- questions ----------------------------------------------------------------------------------------------------

    def facts(self, node: NodeId) -> dict[str, tuple[bytes, int, int]]:
        """(value, version, heard_us) by key; withdrawn keys left out."""
        owner = self._owners.get(node)
        if owner is None:
            return {}
        return {
            body.key: (body.value, body.version, max(held.heard_us, owner.stood_us))
            for held in owner.held()
            if (body := held.fact.body).value
        }

    def owe(self, peer: NodeId, keys: Sequence[bytes], now: Instant) -> None:
        """A repair found that a neighbour lacks these, or asks for them. What is new is on its way to whoever had time
        to hear the rest."""
        young_us = now.mono_us - LONG_AGO_US if self._paths.settled(peer, now.mono_us) else now.mono_us
        for key in keys if peer in self._outbox else ():
            mark = _mark(key)
            held = self._held(mark)  # a peer may ask for what nobody holds
            if held is not None and held.heard_us <= young_us and self._wants(peer, mark):
                self._outbox.add(peer, mark, now.mono_us)

    def hold(self, until_us: int) -> None:
        """Until then neighbours are told of members first: what those say of themselves follows, together."""
        self._outbox.hold(until_us)

    # -- our own ------------------------------------------------------------------------------------------------------

    def publish(self, key: str, value: bytes, now: Instant) -> list[Effect]:
        """Set or withdraw one of our facts; nothing is sent for an unchanged value."""
        mine = self._mine
        held = mine.get(key)
        if (held.fact.body.value if held else b"") == value:
            return []
        if not 0 < len(key) <= KEY_CHARS_MAX or len(value) > VALUE_BYTES_MAX or (held is None and _full(mine)):
            return [Note(f"node/{self._config.name}", f"fact {key[:40]!r} not published: over the limits")]
        self._version += 1
        body = FactBody(self._config.node, self._config.boot, self._version, key, value)
        encoded = encode_body(body)
        part, mine.stood_us = self.scope.part(body.node, key), now.mono_us
        fact = opened(encoded, self._signer.sign(CONTEXT, encoded))
        self._put(mine, Held(fact, now.mono_us, part))
        self._tell((body.node, body.key), now, source=None, survey=self._survey(fact.signature, part, now))
        if self._refresh_due_us is None:
            self._refresh_due_us = now.mono_us + self._refresh_pause_us()
        return [SoftChanged(body.node, key, value, body.version)]

    # -- letters ------------------------------------------------------------------------------------------------------

    def receive(self, peer: NodeId, fact: SignedFact, now: Instant) -> list[Effect]:
        """One fact from a neighbour. Raises ``RemoteError`` for what is not its owner's word."""
        found = opened(fact.body, fact.signature)
        body = found.body
        self._seen_by(peer, body)
        heard_us = now.mono_us - fact.age_ms * MS
        owner = self._owners.get(body.node)
        held = owner.get(body.key) if owner and owner.boot == body.boot else None
        if held is not None and (held.fact is found or _order(held) >= (body.version, fact.body)):
            self._tally.copied |= self._surveys.counts(fact.signature)
            return []
        part = self.scope.part(body.node, body.key)
        if (owner is not None and body.boot < owner.boot) or not self.scope.holds(part):
            return []
        if body.node == self._config.node:
            return []  # an old copy of ours, or a twin's: membership judges that by the rows
        kept_us = heard_us
        if heard_us <= now.mono_us - self._keep_us(body):
            if not self._vouched(body):
                return []
            kept_us = now.mono_us
        self._check(body.node, CONTEXT, fact.body, fact.signature)
        owner, effects = self._owner(body.node, body.boot)
        if held is None and _full(owner):
            raise RemoteError("soft-too-many-keys")
        owner.stood_us = max(owner.stood_us, heard_us)
        self._put(owner, Held(found, kept_us, part))
        survey = self._news(peer, body.node, fact.signature, part, fact.age_ms * MS, now)
        self._tell((body.node, body.key), now, source=peer, survey=survey)
        return [*effects, SoftChanged(body.node, body.key, body.value, body.version)]

    def ended(self, peer: NodeId, wish: int, now: Instant) -> list[Effect]:
        """All facts of a letter were received; ``wish`` is what it says of the link itself."""
        tally, self._tally = self._tally, _Tally()
        answer = self._paths.wished(peer, wish, now.mono_us) if wish else 0
        if tally.missed:
            answer = self._paths.missed(peer, now.mono_us) or answer
        if tally.copied:
            answer = self._paths.copied(peer, now.mono_us) or answer
        return [post(peer, SoftBatch([], answer))] if answer else []

    def refreshed(self, peer: NodeId, letter: SoftRefresh, now: Instant) -> tuple[NodeId, list[Effect]]:
        """An owner stands by all its facts: keep them, and pass it on once. Returns who it was."""
        body = decode_refresh(letter.body)
        owner = self._owners.get(body.node)
        if owner is None or body.node == self._config.node:
            return body.node, []  # about facts not held here
        if (body.boot, body.beat) >= (owner.boot, owner.beat):
            self._outbox.drop(peer, (body.node, REFRESH))
        if (body.boot, body.beat) <= (owner.boot, owner.beat):
            self._tally.copied |= self._surveys.counts(letter.signature)
            return body.node, self.ended(peer, 0, now)
        heard_us = now.mono_us - letter.age_ms * MS
        if heard_us <= now.mono_us - self._config.soft_ttl_us:
            return body.node, []
        self._check(body.node, REFRESH_CONTEXT, letter.body, letter.signature)
        owner, effects = self._owner(body.node, body.boot)
        owner.stand = Stand(body.beat, letter, heard_us)
        owner.stood_us = max(owner.stood_us, heard_us)
        part, age_us = self.scope.region_of(body.node), letter.age_ms * MS
        survey = self._news(peer, body.node, letter.signature, part, age_us, now)
        self._tell((body.node, REFRESH), now, source=peer, survey=survey)
        return body.node, [*effects, *self.ended(peer, 0, now)]

    def silent(self, node: NodeId) -> bool:
        """Nothing of it is left here, and it is one that would tell us."""
        return self.scope.near(node) and not self.facts(node)

    def proof_us(self, node: NodeId) -> int | None:
        """When the owner last signed something we hold."""
        owner = self._owners.get(node)
        if owner is None or node == self._config.node:
            return None
        return max((owner.stood_us, *(held.heard_us for held in owner.held()))) or None

    # -- neighbours and owners ----------------------------------------------------------------------------------------

    def up(self, peer: NodeId, now: Instant, *, returned: bool = True, apart: bool = True) -> Sequence[Effect]:
        """A new neighbour: the repair brings the facts, the refreshes say how old they are.

        Those of others are told to who ``returned`` from a cut after which its facts may be near their end, ours to who
        was ``apart`` from us or is new: whoever was not lost has them from others, and who was lost for less hears the
        next ones in time. Each that is signed for one link goes on to everybody.
        """
        self._outbox.up(peer)
        self._paths.up(peer, now.mono_us)
        if not apart:
            return ()
        mine = self._mine
        if mine.held() and max(_refreshed_us(mine), mine.stood_us) < now.mono_us - STOOD_US:
            self._sign_refresh(mine, now)
        for node, owner in self._owners if returned else ((self._config.node, mine),):
            young = now.mono_us - _refreshed_us(owner) < self._config.soft_ttl_us
            if owner.stand is not None and young and node != peer and self._wants(peer, (node, REFRESH)):
                self._outbox.add(peer, (node, REFRESH), now.mono_us)
        return ()

    def outlasts(self, away_us: int) -> bool:
        """Facts that nobody stood by for so long are held until their owners do again."""
        return away_us <= self._config.soft_ttl_us - 2 * self._config.soft_refresh_max_us

    def down(self, peer: NodeId) -> list[Effect]:
        self._outbox.down(peer)
        self.scope.down(peer)
        return [self._flow(other) for other in self._paths.down(peer)]

    def greeted(self, peer: NodeId, *, whole: bool, now: Instant) -> None:
        """``whole``: the neighbour holds the facts of all regions. It asks for them by a repair."""
        self.scope.told_whole(peer, whole=whole)
        for node, owner in self._owners if whole and not self.scope.small else ():
            if owner.stand is not None and node != peer:
                self._outbox.add(peer, (node, REFRESH), now.mono_us)

    def drop(self, node: NodeId, boot: int) -> list[Effect]:
        """Forget the facts of every boot before ``boot``, and take none of them again."""
        owner = self._owners.get(node)
        if node == self._config.node or (owner is not None and owner.boot >= boot):
            return []
        _, gone = self._owners.begin(node, boot)
        return [effect for held in gone for effect in _withdrawn(held)]

    # -- time ---------------------------------------------------------------------------------------------------------

    def wake(self, now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for peer in self._outbox.due(now.mono_us):
            effects += self._send_pending(peer, now)
        for at_us, node in self._expiry.pop_due(now.mono_us):
            effects += self._expire(node, at_us, now)
        if self._refresh_due_us is not None and self._refresh_due_us <= now.mono_us:
            effects += self._refresh(now)
        return effects

    def deadline(self) -> int | None:
        return earliest(self._outbox.deadline(), self._expiry.deadline(), self._refresh_due_us)

    def _refresh(self, now: Instant) -> list[Effect]:
        mine = self._mine
        for held in [each for each in mine.held() if not each.fact.body.value and self._over(mine, each, now)]:
            self._owners.pop(mine, held.fact.body.key)
        later_us = self._spoke_lately(mine)
        if later_us > now.mono_us:
            self._refresh_due_us = later_us
            return []
        self._refresh_due_us = now.mono_us + self._refresh_pause_us() if mine.held() else None
        if not any(held.fact.body.value for held in mine.held()):
            return []
        survey = self._survey(self._sign_refresh(mine, now), self._config.region, now)
        self._tell((self._config.node, REFRESH), now, source=None, survey=survey)
        again = self._paths.again()
        return [] if again is None else [self._flow(again, patient=True)]

    def _flow(self, peer: NodeId, *, patient: bool = False) -> Effect:
        self._paths.flow(peer)
        return post(peer, SoftBatch([], FLOW), patient=patient)

    def _spoke_lately(self, mine: Owner) -> int:
        """A fact that changed says as well that the others hold: the refresh may come later."""
        return min(mine.stood_us + self._pace_us(), _refreshed_us(mine) + self._config.soft_ttl_us // 2)

    def _sign_refresh(self, mine: Owner, now: Instant) -> bytes:
        """Returns the signature."""
        beat = mine.beat + 1
        body = encode_body(RefreshBody(self._config.node, self._config.boot, beat))
        signature = self._signer.sign(REFRESH_CONTEXT, body)
        mine.stand = Stand(beat, SoftRefresh(0, body, signature), now.mono_us)
        return signature

    def _refresh_pause_us(self) -> int:
        return round(self._pace_us() * (1.0 - 0.1 * self._rng.random()))

    def _pace_us(self) -> int:
        """Everybody hears everybody's refreshes: of many nodes each may tell half as many as one of few."""
        least_us, most_us = self._config.soft_refresh_us, self._config.soft_refresh_max_us
        return min(max(least_us, least_us * self._owners.count() // FEW_OWNERS), most_us)

    def _expire(self, node: NodeId, at_us: int, now: Instant) -> list[Effect]:
        owner = self._owners.get(node)
        effects: list[Effect] = []
        if owner is None or owner.watch_us != at_us:
            return effects  # another boot's, or found already
        owner.watch_us = 0
        for held in [each for each in owner.held() if self._over(owner, each, now)]:
            if self._vouched(held.fact.body):
                held.heard_us = now.mono_us
            else:
                effects += _withdrawn(self._owners.pop(owner, held.fact.body.key))
        if owner.held():
            self._watch(node, owner, min(self._due_us(owner, held) for held in owner.held()))
        return effects

    def _over(self, owner: Owner, held: Held, now: Instant) -> bool:
        return self._due_us(owner, held) <= now.mono_us

    def _due_us(self, owner: Owner, held: Held) -> int:
        stood_us = owner.stood_us if held.fact.body.value else 0
        return max(held.heard_us, stood_us) + self._keep_us(held.fact.body)

    def _vouched(self, body: FactBody) -> bool:
        """A node of another region cannot stand by its facts to everybody: membership does, while it is not gone."""
        foreign = not self.scope.near(body.node) and self.scope.part(body.node, body.key) == MESH
        return foreign and bool(body.value) and not self._gone(body.node)

    def _keep_us(self, body: FactBody) -> int:
        """A withdrawal outlives every copy of what it withdraws."""
        return self._config.soft_ttl_us * (1 if body.value else 2)

    def _watch(self, node: NodeId, owner: Owner, due_us: int) -> None:
        """What is due later is found when the first is."""
        if node != self._config.node and (not owner.watch_us or due_us <= owner.watch_us - LATE_US):
            owner.watch_us = self._expiry.add(node, due_us)

    # -- the store ----------------------------------------------------------------------------------------------------

    def _owner(self, node: NodeId, boot: int) -> tuple[Owner, list[Effect]]:
        """The record of an owner at a boot that is not older than the one known."""
        effects = self.drop(node, boot)
        owner = self._owners.get(node)
        assert owner is not None, "it was dropped for this boot, or is of it"
        return owner, effects

    def _put(self, owner: Owner, held: Held) -> None:
        self._owners.put(owner, held)
        self._watch(held.fact.body.node, owner, self._due_us(owner, held))

    def _check(self, node: NodeId, context: str, body: bytes, signature: bytes) -> None:
        member = self._trust.member(node)
        if member is None:
            raise RemoteError("soft-unknown-member")
        if not self._verifier.verify(member.public_key, context, body, signature):
            raise RemoteError("soft-forged")

    # -- what neighbours lack -----------------------------------------------------------------------------------------

    def _tell(self, mark: Mark, now: Instant, source: NodeId | None, *, survey: bool) -> None:
        owner, part = mark[0], self._part_of(mark)
        for peer in self._outbox.peers():
            if peer in (source, owner) or not self._passes(owner, peer, survey=survey):
                continue
            if self.scope.wants(peer, part):
                self._outbox.add(peer, mark, now.mono_us, soon=survey)

    def _passes(self, owner: NodeId, peer: NodeId, *, survey: bool) -> bool:
        """Whether what ``owner`` says goes to ``peer`` through this node."""
        if survey:
            return self._paths.flows(peer)
        return owner == self._config.node or (self._paths.flows(peer) and not self._told_by(owner, peer))

    def _survey(self, signature: bytes, part: str, now: Instant) -> bool:
        """Whether it shows which links are needed: in a mesh that is none of all with all, and where it comes over no
        links that never rest. It begins here."""
        wide = self._owners.count() > self._config.full_mesh_max
        if not wide or (part == MESH and not self.scope.small) or not self._surveys.drawn(signature):
            return False
        self._surveys.begin(signature, now.mono_us)
        return True

    def _news(self, peer: NodeId, owner: NodeId, signature: bytes, part: str, age_us: int, now: Instant) -> bool:
        """A fact or a refresh that was not known came. Whether it is a survey."""
        self._surveys.count(now.mono_us)
        late = age_us >= LONG_AGO_US
        survey = not late and self._survey(signature, part, now)
        self._tally.missed |= survey or (late and peer != owner)
        return survey

    def _wants(self, peer: NodeId, mark: Mark) -> bool:
        return self.scope.wants(peer, self._part_of(mark))

    def _part_of(self, mark: Mark) -> str:
        owner, key = mark
        return self.scope.region_of(owner) if key == REFRESH else self.scope.part(owner, key)

    def _seen_by(self, peer: NodeId, body: FactBody) -> None:
        """What a neighbour sends it need not be sent, unless ours is newer."""
        held = self._held((body.node, body.key)) if self._outbox.waits(peer) else None
        if held is not None and held.fact.body.version <= body.version:
            self._outbox.drop(peer, (body.node, body.key))

    def _send_pending(self, peer: NodeId, now: Instant) -> list[Effect]:
        room = min(PENDING_BYTES_MAX, self._budgets.allowed(peer, Kind.SOFT, now.mono_us))
        marks = self._outbox.take(peer, now.mono_us, self._size, self._version_of, room)
        if self._outbox.waits(peer):
            ready_us = self._budgets.ready_us(peer, Kind.SOFT, BATCH_BYTES // 4, now.mono_us)
            self._outbox.again(peer, max(ready_us, now.mono_us + self._config.soft_batch_us))
        held = [found for mark in marks if (found := self._held(mark)) is not None]
        refreshes = [self._refresh_letter(owner, now) for owner, key in marks if key == REFRESH]
        facts = batches(peer, [self._letter(each, now) for each in held])
        return [*facts, *(post(peer, refresh, patient=True) for refresh in refreshes if refresh)]

    def _size(self, mark: Mark) -> int:
        """0: nothing is held there any more."""
        if mark[1] == REFRESH:
            owner = self._owners.get(mark[0])
            return LETTER_BYTES + len(owner.stand.letter.body) if owner is not None and owner.stand is not None else 0
        held = self._held(mark)
        return LETTER_BYTES + len(held.fact.signed) if held is not None else 0

    def _version_of(self, mark: Mark) -> int:
        held = self._held(mark)
        return held.fact.body.version if held is not None else 0

    def _held(self, mark: Mark) -> Held | None:
        owner = self._owners.get(mark[0])
        return owner.get(mark[1]) if owner is not None else None

    def _refresh_letter(self, node: NodeId, now: Instant) -> SoftRefresh | None:
        owner = self._owners.get(node)
        if owner is None or owner.stand is None:
            return None
        return msgspec.structs.replace(owner.stand.letter, age_ms=max(0, now.mono_us - owner.stand.heard_us) // MS)

    def _letter(self, held: Held, now: Instant) -> SignedFact:
        fact = held.fact
        own, stands = fact.body.node == self._config.node, bool(fact.body.value)
        owner = self._owners.get(fact.body.node) if stands else None
        stood_us = owner.stood_us if owner is not None else 0
        age_us = 0 if own and stands else max(0, now.mono_us - max(held.heard_us, stood_us))
        return SignedFact(age_us // MS, fact.signed, fact.signature)


def _mark(index_key: bytes) -> Mark:
    return NodeId(index_key[:32]), index_key[32:].decode(errors="replace")


def _full(owner: Owner) -> bool:
    return len(owner) >= KEYS_MAX


def _refreshed_us(owner: Owner) -> int:
    return owner.stand.heard_us if owner.stand is not None else 0


def _withdrawn(held: Held) -> list[Effect]:
    body = held.fact.body
    return [SoftChanged(body.node, body.key, b"", body.version)] if body.value else []


def _order(held: Held) -> tuple[int, bytes]:
    return (held.fact.body.version, held.fact.signed)
