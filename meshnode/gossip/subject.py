"""What one node knows about the life of another: evidence, votes, vouching. Only data; the detector decides."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec

from meshnode.gossip.messages import MemberState
from meshnode.gossip.verdict import STRONG, Evidence
from meshnode.model.ids import NodeId

VOTES_MAX = 64
OBSERVERS_MAX = 64  # as told by others; one word more may be over it


@dataclass(slots=True)
class Subject:
    """One other node. Votes count for one (boot, incarnation) only: raising it is how a node refutes them."""

    node: NodeId
    name: str
    region: str
    boot: int
    incarnation: int
    left: bool = False
    vouched: bool = False
    hearsay: MemberState | None = None
    linked: bool = False
    observed: bool = False  # we had a link under this boot: our vote counts
    own: Evidence | None = None
    since_us: int = 0  # of the first evidence of this story
    cut: bool = False  # its silence is explained by a cut
    excused_us: int = 0  # until then its silence may be that cut healing
    hearing_us: int = 0  # until then it may answer those who say that it is gone; 0: nobody does
    votes: dict[NodeId, Evidence] = field(default_factory=dict[NodeId, Evidence])
    proofs: int = 0  # so many of them have proof
    observers: dict[NodeId, None] = field(default_factory=dict[NodeId, None])
    helper: NodeId | None = None  # who still hears it
    helped_us: int = 0  # until when that counts
    told: tuple[int, int, Evidence] | None = None  # our last alert
    tellings: int = 0  # alerts in a row without a link between them
    told_us: int = 0
    proof_us: int | None = None
    changed_us: int = 0  # when the state became what it is
    state: MemberState = MemberState.UNREACHABLE
    reason: str = "not heard since this node started"

    @property
    def fresh(self) -> bool:
        """Linked, and the link is not silent."""
        return self.linked and self.own is None

    @property
    def doubtful(self) -> bool:
        return self.own is not None or bool(self.votes)

    @property
    def refused(self) -> bool:
        """More than silence speaks against it."""
        return self.proofs > 0 or (self.own is not None and self.own >= STRONG)

    @property
    def proven(self) -> bool:
        """Two others have proof that it is gone, which is all that a verdict needs."""
        return self.proofs > 1

    @property
    def awaits_answer(self) -> bool:
        """Two others have proof that it is gone, and its time to answer has begun: its own word, or the end of that
        time, is all that counts from now on."""
        return self.own is None and self.hearing_us > 0 and self.proven

    def advance(self, boot: int, incarnation: int, *, elsewhere: bool = False) -> None:
        """The node signed something newer: what was said about the older is void. ``elsewhere``: just now, it is heard
        by others, and this node needs no link to it: what it did not hear itself is no evidence any more.
        """
        if boot > self.boot:
            self.own = None
            self.observed = self.linked
            self.helper = None
            self.told, self.tellings = None, 0
            self.observers.clear()
        elif elsewhere and not self.linked and self.own is not None and self.own < STRONG:
            self.own, self.helper, self.observed = None, None, False
        elif self.own is not None and self.own > Evidence.SILENT:
            self.own = Evidence.SILENT  # it lives somewhere, only not for us; the next dial will tell
        self.boot, self.incarnation = boot, incarnation
        self._unsay()

    def accuse(self, kind: Evidence, now_us: int) -> bool:
        """Take evidence of our own; whether it is news."""
        if self.own is not None and self.own >= kind:
            return False
        if not self.doubtful:
            self.since_us = now_us
        self.own = kind
        return True

    def slept(self, for_us: int, now_us: int, calm_us: int) -> None:
        """This machine was away: an answer may lie unread. Who is unreachable stays so, and is not down for its silence
        before all is read."""
        self.hearing_us += for_us if self.hearing_us else 0
        if self.state is MemberState.SUSPECT:
            self.since_us = min(now_us, self.since_us + for_us)
            self.excused_us += for_us if self.excused_us else 0
        else:
            self.excused_us = max(self.excused_us, calm_us)

    def vote(self, observer: NodeId, kind: Evidence, now_us: int) -> bool:
        """Take the word of another observer; whether it is news."""
        held = self.votes.get(observer)
        if (held is not None and held >= kind) or (held is None and len(self.votes) >= VOTES_MAX):
            return False
        if not self.doubtful:
            self.since_us = now_us
        self.votes[observer] = kind
        self.proofs += kind >= STRONG and (held is None or held < STRONG)
        return True

    def _unsay(self) -> None:
        self.votes.clear()
        self.proofs = 0

    def observed_by(self, nodes: Iterable[NodeId]) -> None:
        """Another one says who should know of its loss."""
        observers = self.observers
        if len(observers) < OBSERVERS_MAX:
            for node in nodes:
                observers[node] = None

    def acquit(self) -> bool:
        """Proof of life on a link of our own, newer than any vote; whether we had doubts."""
        had = self.own is not None
        self.own, self.helper = None, None
        self._unsay()
        self.told, self.tellings = None, 0
        return had

    def all_votes(self, me: NodeId) -> dict[NodeId, Evidence]:
        return self.votes if self.own is None else {**self.votes, me: self.own}


class Word(msgspec.Struct, frozen=True):
    """What a neighbour told about others. ``partial``: it vouches for nobody it did not name."""

    told: dict[bytes, MemberState]
    partial: bool = False


SILENT_NEIGHBOUR = Word({})
