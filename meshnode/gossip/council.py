"""Who observes a node, and what their words make of it: the facts a verdict needs, gathered from all subjects.

Silence means something else when this node hears nobody, or when a whole region went silent: then it is a cut.
"""

import math
from collections.abc import Iterable

import msgspec

from meshnode.gossip.alerts import Alert
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.messages import MemberState
from meshnode.gossip.subject import Subject
from meshnode.gossip.subjects import Subjects, mark
from meshnode.gossip.verdict import STRONG, Case, Evidence, condemned, judge, region_cut, unanimous
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.ports import LinkStats
from meshnode.model.ids import NodeId

SMALL = 64
LATELY_US, MANY = 2 * SECOND, 3  # so many neighbours lost so lately
LARGE_REGION = 8
SPOKE_US = 10 * SECOND
CONFIRMED_US = 1 * SECOND
CONFIRMATIONS = 2  # by others, beside the first voice
HEARING_US = 1 * SECOND  # for an accusation to be read by its subject, which may stand still for a moment, and answered
HEARING_TRIPS = 4  # for both to come over some links each way
ANSWERED_US = 60 * SECOND  # who answered so lately is given longer:
HEARING_LONG_US = 5 * SECOND  # it answers at a pace, and who plays with it does so again
TRUSTED = 3  # answers after which such words alone change nothing before that time is over
ANSWERED_MAX = 1024  # nodes; those who answered longest ago are forgotten first
_GONE = (MemberState.DOWN, MemberState.LEFT)
_CALLED_GONE = (MemberState.DOWN, MemberState.UNREACHABLE)
# Of the time to refute, the part that is left out by the number of voices.
_SHARES = tuple(math.log(max(1, told)) / math.log(1 + CONFIRMATIONS) for told in range(2 + CONFIRMATIONS))


class Council:
    """Judges one subject in the light of all."""

    def __init__(self, config: GossipConfig, subjects: Subjects, links: LinkStats) -> None:
        self._config, self._subjects, self._links = config, subjects, links
        self._suspicion = -1, 0  # for so many nodes, so long
        self._was_cut_off = False
        self._spoke: dict[str, int] = {}
        self._were_cut: dict[str, None] = {}
        self._mute: dict[NodeId, None] = {}  # whose word does not count
        self._answers: dict[NodeId, tuple[int, int]] = {}  # how often, and when last

    def suspicion_us(self) -> int:
        """How long a suspect may refute; news travels longer in a larger mesh."""
        count = self._subjects.count()
        if count != self._suspicion[0]:
            self._suspicion = count, max(self._config.suspicion_us, round(1.5 * SECOND * math.log10(count + 1)))
        return self._suspicion[1]

    def confirmed_us(self, subject: Subject) -> int:
        """How long it takes until a suspect is unreachable: the sooner the more observers say so (Lifeguard, 2018)."""
        longest = self.suspicion_us()
        shortest = min(longest, CONFIRMED_US)
        own = subject.own is not None and subject.own > Evidence.NO_ROUTE
        told = own + sum(kind > Evidence.NO_ROUTE for kind in subject.votes.values())
        return longest - round((longest - shortest) * _SHARES[min(told, len(_SHARES) - 1)])

    def turns_us(self, subject: Subject, now: Instant) -> int | None:
        """When a doubtful one may become something else without a word of anybody."""
        since_us, now_us = subject.since_us, now.mono_us
        if subject.awaits_answer:
            return subject.hearing_us if subject.hearing_us > now_us else None
        times = (
            since_us + self.confirmed_us(subject), since_us + self.suspicion_us(), subject.excused_us,
            subject.hearing_us,
        )  # fmt: skip
        return min((at_us for at_us in times if at_us > now_us), default=None)

    def judge(self, subject: Subject, now: Instant) -> tuple[MemberState, str, int | None]:
        """The state, why, and when to judge it again, though nothing is heard. May excuse a silence until
        ``subject.excused_us``."""
        if subject.left or subject.fresh:
            subject.hearing_us = 0  # who loses the link later gives it the whole time
            state, reason = (MemberState.LEFT, "left the mesh") if subject.left else (MemberState.READY, "linked")
            return state, reason, None
        if subject.awaits_answer and subject.state in _CALLED_GONE:  # nothing but its time can change what was said
            over = now.mono_us >= subject.hearing_us
            return (
                (MemberState.DOWN, subject.reason, None)
                if over
                else (subject.state, subject.reason, subject.hearing_us)
            )
        state, reason = judge(self._case(subject, now))
        proven = state is MemberState.DOWN and subject.own is None
        return state, reason, None if proven else self.turns_us(subject, now)

    def _case(self, subject: Subject, now: Instant) -> Case:
        observers, since_us = self._alive(subject), subject.since_us
        case = Case(
            votes=subject.all_votes(self._config.node),
            own=subject.own,
            observers=observers,
            possible=self._possible(subject) if observers < 3 else observers,
            ripe=subject.doubtful and now.mono_us >= since_us + self.suspicion_us(),
            confirmed=subject.doubtful and now.mono_us >= since_us + self.confirmed_us(subject),
            vouched=subject.vouched,
            hearsay=subject.hearsay,
            cut=self._excuse(subject, now),
            trusted=self._answered(subject.node, now) >= TRUSTED,
            helper=self._name(subject.helper),
        )
        return msgspec.structs.replace(case, hearing=True) if self._hears(subject, case, now) else case

    def _hears(self, subject: Subject, case: Case, now: Instant) -> bool:
        """Whether it may still answer. Its time begins with the evidence, and once for all who say the same. Where many
        links broke at once it may have lost all of its own, and dials before it hears or says anything."""
        if not condemned(case) or unanimous(case):
            subject.hearing_us = 0
            return False
        if not subject.hearing_us:
            times = [self._links.rtt_us(peer) or 0 for peer in self._links.peers()]
            usual_us = self.suspicion_us() if self.many_lost(now) else HEARING_US
            usual_us = HEARING_LONG_US if self._answered(subject.node, now) else usual_us
            subject.hearing_us = now.mono_us + usual_us + HEARING_TRIPS * max(times, default=0)
        return now.mono_us < subject.hearing_us

    def signed(self, subject: Subject, boot: int, now: Instant) -> None:
        """A newer row of its own. One of the same boot answers those who called it gone."""
        if not subject.refused or boot != subject.boot:
            return
        times = self._answered(subject.node, now) + 1
        self._answers.pop(subject.node, None)
        self._answers[subject.node] = times, now.mono_us
        if len(self._answers) > ANSWERED_MAX:
            del self._answers[next(iter(self._answers))]

    def _answered(self, node: NodeId, now: Instant) -> int:
        """How often it did, each time within a while of the last."""
        times, at_us = self._answers.get(node, (0, 0))
        return times if now.mono_us < at_us + ANSWERED_US else 0

    def observers(self, subject: Subject) -> list[NodeId]:
        """Known observers of a node that may still be alive; this node among them if it had a link."""
        known = {**subject.observers, **dict.fromkeys(subject.votes)}
        alive = [node for node in known if node != subject.node and self._may_observe(node)]
        return ([self._config.node] if subject.observed else []) + alive

    def _alive(self, subject: Subject) -> int:
        """How many they are."""
        told, held = subject.observers, self._subjects.held
        count = int(subject.observed)
        for node in told if subject.votes.keys() <= told.keys() else {**told, **subject.votes}:
            if node == subject.node:
                continue  # no observer says that of itself
            other = held(node)
            if other is None:
                count += self._may_observe(node)
            elif other.state not in _GONE and (other.own is None or other.own < STRONG):
                count += 1
        return count

    def _possible(self, subject: Subject) -> int:
        """Living nodes besides it, counted only where they may be few. Its observers may not all be known here: one
        that a firewall keeps from everybody must not be believed in a large mesh because nobody else said a word."""
        others = self._subjects.count()
        if others > SMALL:
            return others
        gone = sum(other.state in _GONE for other in self._subjects.known() if other is not subject)
        return others - gone

    def cut_off(self) -> bool:
        """Most links went silent: more likely it is us."""
        watched = [s for s in self._subjects.watched.values() if s.state not in _GONE]
        weak = sum(s.own is not None and s.own < STRONG for s in watched)
        return len(watched) >= 2 and 2 * weak > len(watched)

    def many_lost(self, now: Instant) -> bool:
        """This node lost several neighbours within a moment."""
        watched, since_us = self._subjects.watched, now.mono_us - LATELY_US
        return sum(subject.own is not None and subject.since_us > since_us for subject in watched.values()) >= MANY

    def stirred(self, changed: Iterable[Subject], now: Instant) -> list[Subject]:
        """The doubtful ones that what changed of some nodes means something for: judge them again.

        One walk over the doubtful for all that changed, since thousands may be lost in one moment.
        """
        cut_off = self.cut_off()
        heads_turned = cut_off is not self._was_cut_off
        self._was_cut_off = cut_off
        words: dict[NodeId, None] = {}
        heard_again = False
        for subject in changed:
            mute = not self._may_observe(subject.node)
            if mute is not (subject.node in self._mute):
                words[subject.node] = None
                heard_again = heard_again or not mute
                mark(self._mute, subject.node, None, there=mute)
        regions = self._turned({subject.region: None for subject in changed}, now)
        if not (heads_turned or regions or words):
            return []
        return [
            other
            for other in self._subjects.doubtful.values()
            if heads_turned
            or other.region in regions
            or (
                (heard_again or not other.awaits_answer)
                and not (words.keys().isdisjoint(other.observers) and words.keys().isdisjoint(other.votes))
            )
        ]

    def _turned(self, regions: Iterable[str], now: Instant) -> dict[str, None]:
        """Those of them that are cut off now and were not before, or the other way round."""
        turned: dict[str, None] = {}
        for region in regions:
            cut = region != self._config.region and self._region_cut(region, now)
            if cut is not (region in self._were_cut):
                turned[region] = None
                mark(self._were_cut, region, None, there=cut)
        return turned

    def forget(self, node: NodeId) -> None:
        self._mute.pop(node, None)
        self._answers.pop(node, None)

    def _may_observe(self, node: NodeId) -> bool:
        subject = self._subjects.held(node)
        if subject is not None:
            return subject.state not in _GONE and (subject.own is None or subject.own < STRONG)
        return node != self._config.node and self._subjects.state(node) not in (None, *_GONE)

    def _excuse(self, subject: Subject, now: Instant) -> str:
        """Why silence proves nothing. It goes on for a while after a cut: links do not come back all at once."""
        cut = self._cut(subject, now) if subject.doubtful else ""
        if subject.cut and not cut:
            subject.excused_us = now.mono_us + self.suspicion_us()
        subject.cut = bool(cut)
        return "silent since a cut or a pause" if not cut and now.mono_us < subject.excused_us else cut

    def _cut(self, subject: Subject, now: Instant) -> str:
        region = subject.region
        lost = region != self._config.region and self._region_cut(region, now)
        hears = lost and any(other.fresh for other in self._subjects.watched.values())
        if not hears and self.cut_off():
            return "silent; this node hears hardly anybody and may be cut off itself"
        return region_cut(region, self._subjects.living(region)) if lost else ""

    def spoke(self, alert: Alert, now: Instant) -> None:
        """A word from within a region about one of its own reached us: it is not cut off."""
        inside = [self._subjects.region(node) for node in (alert.observer, alert.subject)]
        if inside[0] is not None and inside[0] == inside[1]:
            self._spoke[inside[0]] = now.mono_us

    def _region_cut(self, region: str, now: Instant) -> bool:
        """All of it is silent; of a large one the half, since who is far from it observes few of its nodes."""
        living, silent = self._subjects.living(region), self._subjects.silent(region)
        if 2 <= living == silent:
            return True
        spoke_us = self._spoke.get(region)
        if living <= LARGE_REGION or 2 * silent < living or (spoke_us and now.mono_us < spoke_us + SPOKE_US):
            return False
        return not any(other.region == region and other.fresh for other in self._subjects.watched.values())

    def _name(self, node: NodeId | None) -> str:
        subject = self._subjects.view(node) if node else None
        return subject.name if subject else ""
