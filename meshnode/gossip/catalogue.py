"""What there is in other regions: one signed row a region and skill, spread when it changes, held by all.

Rows are made by the region's spokesmen: the first ready ones on the circle of ids (``bridges.py``). The first speaks at
once, the others only if a wrong row still stands a while later. Nobody has to agree with anybody: each raises the
sequence of the row it replaces, and what a cut region or a dead spokesman left is put right by the next one that looks.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Annotated, Protocol

import msgspec

from meshnode.gossip.bridges import elected
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.letters import Count, Id, Region, RegionRows, RegionRumour, SignedFact, encode, post
from meshnode.gossip.soundings import Soundings
from meshnode.gossip.summaries import (
    CLASS_CHARS_MAX,
    SUMMARY_BYTES_MAX,
    Gauge,
    RegionSummary,
    decode_summary,
    encode_summary,
    summed,
)
from meshnode.kernel.decoding import decoded
from meshnode.kernel.effects import Effect
from meshnode.kernel.fingerprints import Fingerprints
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.ports import LinkStats, RegionOffer, Signer, Trust, Verifier
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

CONTEXT = "catalogue/v1"
CATALOGUE_MAX = 20_000  # rows in all
REGION_ROWS_MAX = 4_096  # of one region
NAME_CHARS_MAX = 160
LEAP_MAX = 2**32  # a sequence that jumps further would soon leave no room above it
STALE_US = 60 * SECOND  # an older row in a rumour is late for so long, a replay afterwards
READY_US = 20 * SECOND
LOOK_US = 2 * SECOND
SMALL_LOOK_US = 10 * SECOND  # whether the mesh has grown
TURN_US = 3 * SECOND  # how much longer each next spokesman waits
SUMMARY_US = 10 * SECOND
STAND_US = 60 * SECOND  # a summary that did not change is told again, as a sign that the region stands by its rows
NONE_KEPT_US = 600 * SECOND
BRIDGES_SHOWN = 3
BRIDGES_KEPT_US = 5 * SECOND
BATCH_ROWS = 150
AMOUNTS = ("none", "some", "many")


class RowBody(msgspec.Struct, frozen=True, array_like=True):
    """What a spokesman signs. ``name``: a skill or ``cap/TAG``; "" is the region's summary."""

    author: Id
    sequence: Count
    region: Region
    name: Annotated[str, msgspec.Meta(max_length=NAME_CHARS_MAX)]
    amount: Annotated[int, msgspec.Meta(ge=0, le=2)]
    best: Annotated[str, msgspec.Meta(max_length=CLASS_CHARS_MAX)]
    summary: Annotated[bytes, msgspec.Meta(max_length=SUMMARY_BYTES_MAX)] = b""


class Map(Protocol):
    """Who is where, and in what state: asked of the directory and the detector."""

    def regions(self) -> Sequence[str]: ...

    def in_region(self, region: str) -> Sequence[NodeId]: ...

    def reachable(self, node: NodeId) -> bool: ...

    def gone(self, node: NodeId) -> bool: ...


class Survey(Protocol):
    """This node's own region in detail, asked of the rooms above."""

    def offers(self) -> Iterable[tuple[str, Sequence[str], NodeId]]:
        """Skill, tags and node of everything offered in the region."""
        ...

    def best(self, node: NodeId) -> str:
        """The class of a machine: ``gpu-24g``, ``cpu``."""
        ...

    def gauges(self) -> Iterable[Gauge]: ...


@dataclass(slots=True)
class _Held:
    body: RowBody
    signed: SignedFact
    heard_us: int


_bodies = msgspec.msgpack.Decoder(RowBody)
_encode = msgspec.msgpack.Encoder().encode
_Key = tuple[str, str]


class Catalogue:
    """All rows known here. Implements ``kernel.ports.Catalogue``. ``holds``: the facts of a region are held here in
    full; ``small``: those of all are, and there is nothing to say."""

    def __init__(
        self, config: GossipConfig, where: Map, links: LinkStats, signer: Signer, verifier: Verifier, trust: Trust, *,
        holds: Callable[[str], bool], small: Callable[[], bool],
    ) -> None:  # fmt: skip
        self._config, self._map, self._links = config, where, links
        self._signer, self._verifier, self._trust = signer, verifier, trust
        self._holds, self._small = holds, small
        self._rows: dict[_Key, _Held] = {}
        self._ours: dict[str, _Held] = {}  # of our own region, by name, its summary left out
        self._nones: dict[_Key, None] = {}  # rows that deny
        self._counts: dict[str, int] = {}
        self._stood_us: dict[str, int] = {}  # when a region last said anything
        self._bridges_kept: dict[str, tuple[int, tuple[NodeId, ...]]] = {}  # until when
        self._survey: Survey | None = None
        self._soundings = Soundings()
        self._wrong_us: dict[str, int] = {}  # since when a row of our region is not what we see
        self._told_us = 0  # our region's summary
        self._lost_us: dict[str, int] = {}
        self._look_us: int | None = None
        self._ready_us = 0  # before, this node may not have heard of everything in its region yet
        self.index = Fingerprints()

    # -- questions ----------------------------------------------------------------------------------------------------

    def regions_of(self, skill: str, now_us: int) -> Sequence[RegionOffer]:
        """``skill``: a name, or ``cap/TAG``. Best amount first; regions held here in full are left out."""
        if self._small():
            return []
        found: list[tuple[int, RegionOffer]] = []
        for region in self._map.regions():
            held = self._rows.get((region, skill))
            if held is not None and held.body.amount and not self._holds(region):
                age_us = max(0, now_us - max(held.heard_us, self._stood_us.get(region, 0)))
                amount, best = held.body.amount, held.body.best
                offer = RegionOffer(region, AMOUNTS[amount], best, age_us, self._bridges_now(region, now_us))
                found.append((-amount, offer))
        return [offer for _, offer in sorted(found, key=lambda each: (each[0], each[1].age_us, each[1].region))]

    def silent(self, now_us: int) -> Sequence[str]:  # noqa: ARG002 - the port leaves room for "not for long"
        """Regions with members of which nobody has said anything yet; sorted."""
        if self._small():
            return []
        unheard = (region for region in self._map.regions() if region not in self._stood_us)
        return [region for region in unheard if not self._holds(region)]

    def _bridges_now(self, region: str, now_us: int) -> tuple[NodeId, ...]:
        """As looked up some seconds ago at most: a question about a skill concerns many regions at once."""
        kept = self._bridges_kept.get(region)
        if kept is None or kept[0] <= now_us or not (kept[1] and self._map.reachable(kept[1][0])):
            kept = self._bridges_kept[region] = (now_us + BRIDGES_KEPT_US, self.bridges(region))
        return kept[1]

    def bridges(self, region: str) -> tuple[NodeId, ...]:
        """Who can be asked about a region: neighbours in it, the nearest first, then its bridges to ours."""
        inside = [peer for peer in self._links.peers() if self._region_of(peer) == region]
        near = sorted((peer for peer in inside if self._map.reachable(peer)), key=self._way_us)
        others = elected(self._config.region, region, self._map.in_region(region), self._map.reachable)
        return tuple(dict.fromkeys((*near, *others)))[:BRIDGES_SHOWN]

    def summaries(self) -> Sequence[tuple[str, RegionSummary]]:
        """By region, sorted; of those that told one, and of our own as it is seen here."""
        told = {region: told for region in self._counts if (told := self.told(region)) is not None}
        if self._survey is not None:
            told[self._config.region] = summed(self._survey.gauges())
        return sorted(told.items())

    def told(self, region: str) -> RegionSummary | None:
        """The last summary of a region, our own included, as all were told it."""
        held = self._rows.get((region, ""))
        return decode_summary(held.body.summary) if held is not None else None

    def pack(self, keys: Sequence[bytes], now: Instant) -> list[SignedFact]:
        """Rows by index key, with their age."""
        found = [self._rows[key] for raw in keys if (key := _key_of(raw)) in self._rows]
        return [
            msgspec.structs.replace(held.signed, age_ms=max(0, now.mono_us - held.heard_us) // MS) for held in found
        ]

    # -- what others say ----------------------------------------------------------------------------------------------

    def rumour(self, rumour: RegionRumour, now: Instant) -> list[Effect] | None:
        """``None``: no news, not to be passed on. Raises ``RemoteError`` for what its author may not say."""
        news = self._take(SignedFact(0, rumour.body, rumour.signature), now, replay_us=STALE_US)
        return [] if news else None

    def receive(self, row: SignedFact, now: Instant) -> list[Effect]:
        """A row from a repair: it may well be older than ours. Raises ``RemoteError``."""
        self._take(row, now, replay_us=None)
        return []

    def _take(self, row: SignedFact, now: Instant, replay_us: int | None) -> bool:
        body = decode_row(row.body)
        key = (body.region, body.name)
        held = self._rows.get(key)
        if held is not None and _order(held) >= (body.sequence, row.body):
            late = replay_us is not None and held.signed.body != row.body
            if late and now.mono_us > held.heard_us + (replay_us or 0):
                raise RemoteError(
                    "catalogue-stale", f"row {body.sequence} of {body.region}, {held.body.sequence} known"
                )
            return False
        self._check(body, row)
        if held is not None and body.sequence > held.body.sequence + LEAP_MAX:
            raise RemoteError("catalogue-sequence-leap", f"from {held.body.sequence} to {body.sequence}")
        if held is None and (len(self._rows) >= CATALOGUE_MAX or self._counts.get(body.region, 0) >= REGION_ROWS_MAX):
            raise RemoteError("catalogue-full", f"{len(self._rows)} rows, {self._counts.get(body.region, 0)} of it")
        if not body.name:
            decode_summary(body.summary)
        self._hold(_Held(body, row, now.mono_us - row.age_ms * MS))
        return True

    def _check(self, body: RowBody, row: SignedFact) -> None:
        member = self._trust.member(body.author)
        if member is None:
            raise RemoteError("catalogue-unknown-author")
        if member.region != body.region:
            raise RemoteError("catalogue-foreign-author", f"{member.name} of {member.region} speaks for {body.region}")
        if body.region not in self._map.regions():
            raise RemoteError("catalogue-unknown-region", body.region)
        if not self._verifier.verify(member.public_key, CONTEXT, row.body, row.signature):
            raise RemoteError("catalogue-forged")

    def _hold(self, held: _Held) -> None:
        key = (held.body.region, held.body.name)
        if key not in self._rows:
            self._counts[key[0]] = self._counts.get(key[0], 0) + 1
        self._rows[key] = held
        if key[1] and key[0] == self._config.region:
            self._ours[key[1]] = held
        if key[1] and not held.body.amount:
            self._nones[key] = None
        else:
            self._nones.pop(key, None)
        self._stood_us[key[0]] = max(self._stood_us.get(key[0], 0), held.heard_us)
        if key[1]:  # summaries come again by themselves; compared, they would differ all the time
            self.index.put(_index_key(key), held.body.sequence.to_bytes(8) + held.signed.signature[:8])

    def _drop(self, key: _Key) -> None:
        if self._rows.pop(key, None) is not None:
            self._counts[key[0]] -= 1
            self._nones.pop(key, None)
            if key[0] == self._config.region:
                self._ours.pop(key[1], None)
            self.index.remove(_index_key(key))

    # -- what we say --------------------------------------------------------------------------------------------------

    def surveyed(self, survey: Survey, now_us: int) -> None:
        """From now on this node can speak for its region."""
        self._survey = survey
        self._look_us, self._ready_us = now_us + LOOK_US, now_us + READY_US

    def wake(self, now: Instant) -> list[bytes]:
        """Rumours to spread."""
        if self._look_us is None or self._look_us > now.mono_us:
            return []
        small = self._small()
        self._look_us = now.mono_us + (SMALL_LOOK_US if small else LOOK_US)
        if small:
            return []
        self._expire(now)
        rank = self._rank()
        return self._speak(rank, now) if rank is not None and self._survey is not None else []

    def deadline(self) -> int | None:
        return self._look_us

    def _rank(self) -> int | None:
        """Our place among those who speak for the region; ``None``: others do."""
        region, me = self._config.region, self._config.node
        chosen = elected(
            region, region, self._map.in_region(region), lambda node: node == me or self._map.reachable(node)
        )
        return chosen.index(me) if me in chosen else None

    def _speak(self, rank: int, now: Instant) -> list[bytes]:
        assert self._survey is not None
        told = {name: (held.body.amount, held.body.best) for name, held in self._ours.items()}
        seen = self._soundings.look(self._survey.offers(), self._survey.best, told, now.mono_us)
        wrong: dict[str, int] = {}
        rumours: list[bytes] = []
        for name, (amount, best) in sorted(seen.items()):
            before = told.get(name, (0, ""))
            if before == (amount, best) or (amount < before[0] and now.mono_us < self._ready_us):
                continue
            wrong[name] = self._wrong_us.get(name, now.mono_us)
            if now.mono_us >= wrong[name] + rank * TURN_US and len(rumours) < BATCH_ROWS:
                rumours.append(self._say(name, amount, best, b"", now))
        self._wrong_us = wrong
        return [*rumours, *self._summary(rank, now)]

    def _summary(self, rank: int, now: Instant) -> list[bytes]:
        assert self._survey is not None
        held = self._rows.get((self._config.region, ""))
        told_us = held.heard_us if held is not None else -STAND_US
        if now.mono_us < told_us + SUMMARY_US + rank * TURN_US:
            return []
        summary = encode_summary(summed(self._survey.gauges()))
        if held is not None and held.body.summary == summary and now.mono_us < told_us + STAND_US + rank * TURN_US:
            return []
        return [self._say("", 0, "", summary, now)]

    def _say(self, name: str, amount: int, best: str, summary: bytes, now: Instant) -> bytes:
        region = self._config.region
        held = self._rows.get((region, name))
        sequence = held.body.sequence + 1 if held is not None else 1
        body = RowBody(self._config.node, sequence, region, name, amount, best[:CLASS_CHARS_MAX], summary)
        encoded = _encode(body)
        signed = SignedFact(0, encoded, self._signer.sign(CONTEXT, encoded))
        self._hold(_Held(body, signed, now.mono_us))
        return encode(RegionRumour(signed.body, signed.signature))

    # -- time ---------------------------------------------------------------------------------------------------------

    def _expire(self, now: Instant) -> None:
        """Rows of a region last until its last member is known to be down; "none" needs no keeping."""
        for region in list(self._counts):
            if any(not self._map.gone(node) for node in self._map.in_region(region)):
                self._lost_us.pop(region, None)
            elif now.mono_us >= self._lost_us.setdefault(region, now.mono_us) + self._config.soft_ttl_us:
                self._forget(region)
        for key in [key for key in self._nones if _old(self._rows[key], now)]:
            self._drop(key)

    def _forget(self, region: str) -> None:
        for key in [key for key in self._rows if key[0] == region]:
            self._drop(key)
        for each in (self._counts, self._stood_us, self._lost_us, self._bridges_kept):
            each.pop(region, None)

    def _region_of(self, node: NodeId) -> str:
        member = self._trust.member(node)
        return member.region if member is not None else ""

    def _way_us(self, node: NodeId) -> int:
        return self._links.rtt_us(node) or 10 * SECOND


def row_letters(peer: NodeId, rows: Sequence[SignedFact]) -> list[Effect]:
    """Letters of a bounded size."""
    return [post(peer, RegionRows(list(rows[at : at + BATCH_ROWS]))) for at in range(0, len(rows), BATCH_ROWS)]


def decode_row(body: bytes) -> RowBody:
    """Raises ``RemoteError`` for what is none."""
    return decoded(_bodies.decode, body, "catalogue-malformed")


def _order(held: _Held) -> tuple[int, bytes]:
    return (held.body.sequence, held.signed.body)


def _old(held: _Held, now: Instant) -> bool:
    return now.mono_us >= held.heard_us + NONE_KEPT_US


def _index_key(key: _Key) -> bytes:
    return "\0".join(key).encode()


def _key_of(index_key: bytes) -> _Key:
    region, _, name = index_key.decode(errors="replace").partition("\0")
    return region, name
