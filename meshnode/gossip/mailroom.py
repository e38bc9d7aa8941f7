"""Letters of peers: each one to the machine it is for. The only place where a ``RemoteError`` of this room ends."""

from collections.abc import Callable, Iterable
from typing import TypeVar, assert_never

from meshnode.gossip.letters import (
    Dialback,
    Doubt,
    Graft,
    Greeting,
    IHave,
    Letter,
    Neighbours,
    Probe,
    ProbeAck,
    Prune,
    Pull,
    Push,
    RegionRows,
    Repair,
    Roots,
    Rows,
    SoftBatch,
    SoftRefresh,
    Standing,
    Tried,
    decode,
)
from meshnode.gossip.manners import blame
from meshnode.gossip.messages import SoftChanged
from meshnode.gossip.parts import Parts
from meshnode.gossip.rolls import Rolls
from meshnode.gossip.scope import holds_whole
from meshnode.kernel.effects import Effect, Reject
from meshnode.kernel.instant import MS, Instant
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId

ItemT = TypeVar("ItemT")


class Mailroom:
    """Reads what came on links."""

    def __init__(self, parts: Parts, rolls: Rolls) -> None:
        self._parts, self._rolls = parts, rolls

    def read(self, peer: NodeId, body: bytes, now: Instant) -> list[Effect]:
        """The effects of one letter, or its refusal; a letter is a sign of life either way."""
        effects = self._parts.detector.heard(peer, now)
        try:
            self._parts.manners.letter(peer, body, now)
            return effects + self._dispatch(peer, decode(body), now)
        except RemoteError as error:
            return [*effects, blame(peer, error)]

    def _dispatch(self, peer: NodeId, letter: Letter, now: Instant) -> list[Effect]:
        match letter:
            case Greeting() | Neighbours():
                return self._neighbours(peer, letter, now)
            case Rows(rows):
                return self._rolls.rows(peer, rows, now)
            case Roots() | Repair() | Pull():
                return self._repair(peer, letter, now)
            case Push() | IHave() | Graft() | Prune():
                return self._tree(peer, letter, now)
            case RegionRows(rows):
                return self._each(peer, rows, lambda row: self._parts.catalogue.receive(row, now))
            case SoftBatch() | SoftRefresh():
                return self._soft(peer, letter, now)
            case Probe() | ProbeAck() | Standing():
                return self._life(peer, letter, now)
            case Doubt(boot, incarnation):
                return self._rolls.publish(self._parts.me.refute(boot, incarnation, now), now)
            case Dialback():
                return self._parts.trying.asked(peer, letter, now)
            case Tried():
                return self._parts.found_out(now) if self._parts.asking.answered(peer, letter, now) else []
            case _:
                assert_never(letter)

    def _neighbours(self, peer: NodeId, letter: Greeting | Neighbours, now: Instant) -> list[Effect]:
        self._parts.detector.neighbours(peer, letter.links)
        if isinstance(letter, Neighbours):
            self._parts.overlay.neighbours_told(peer, letter.links)
            return []
        self._parts.detector.paced(peer, letter.pace_ms * MS)
        self._parts.asking.greeted(peer, dials_back=letter.dials_back)
        return self._parts.overlay.greeted(peer, letter, now) + self._whole(peer, letter, now)

    def _whole(self, peer: NodeId, letter: Greeting, now: Instant) -> list[Effect]:
        """Who asks for the facts of all regions needs a role an admin gave it: they are most of a mesh's bytes."""
        entitled = holds_whole(self._parts.ports.trust.member(peer))
        self._parts.soft.greeted(peer, whole=letter.whole and entitled, now=now)
        return [Reject(peer, "whole-without-role")] if letter.whole and not entitled else []

    def _repair(self, peer: NodeId, letter: Roots | Repair | Pull, now: Instant) -> list[Effect]:
        match letter:
            case Roots():
                return [] if self._parts.intake.puts_off(peer) else self._parts.repairs.roots(peer, letter, now)
            case Repair():
                return self._parts.repairs.step(peer, letter, now)
            case Pull():
                return self._parts.repairs.pulled(peer, letter, now)

    def _tree(self, peer: NodeId, letter: Push | IHave | Graft | Prune, now: Instant) -> list[Effect]:
        match letter:
            case Push(rumour):
                return self._rolls.rumour(peer, rumour, now)
            case IHave(ids, recent):
                self._parts.broadcast.told(peer, ids, now, recent=recent)
            case Graft(ids, only):
                return self._parts.broadcast.grafted(peer, ids, now, only=only)
            case Prune(soon):
                return self._parts.broadcast.pruned(peer, soon=soon)
        return []

    def _soft(self, peer: NodeId, letter: SoftBatch | SoftRefresh, now: Instant) -> list[Effect]:
        soft = self._parts.soft
        if isinstance(letter, SoftRefresh):
            owner, effects = soft.refreshed(peer, letter, now)
            return effects + self._vouch(owner, now)
        effects = self._each(peer, letter.facts, lambda fact: soft.receive(peer, fact, now))
        effects += soft.ended(peer, letter.wish, now)
        owners = dict.fromkeys(effect.node for effect in effects if isinstance(effect, SoftChanged))
        return effects + [effect for owner in owners for effect in self._vouch(owner, now)]

    def _vouch(self, owner: NodeId, now: Instant) -> list[Effect]:
        proof_us = self._parts.soft.proof_us(owner)
        return self._parts.detector.vouch(owner, proof_us, now) if proof_us is not None else []

    def _life(self, peer: NodeId, letter: Probe | ProbeAck | Standing, now: Instant) -> list[Effect]:
        match letter:
            case Probe(subject):
                return self._parts.detector.probed(peer, subject, now)
            case ProbeAck(subject):
                if subject == peer:
                    self._parts.planning.answered(peer, now)
                return self._parts.detector.probe_answered(peer, letter, now)
            case Standing():
                return self._parts.detector.told_standing(peer, letter, now)

    def _each(self, peer: NodeId, items: Iterable[ItemT], take: Callable[[ItemT], list[Effect]]) -> list[Effect]:
        """One bad item of a letter must not hide the good ones behind it."""
        effects: list[Effect] = []
        for item in items:
            try:
                effects += take(item)
            except RemoteError as error:
                effects.append(blame(peer, error))
        return effects
