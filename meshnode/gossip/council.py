"""Who observes a node, and what their words make of it: the facts a verdict needs, gathered from all subjects.

Silence means something else when this node hears nobody, or when a whole region went silent: then it is a cut.
"""

import math
from collections.abc import Mapping

from meshnode.gossip.config import GossipConfig
from meshnode.gossip.messages import MemberState
from meshnode.gossip.subject import Subject
from meshnode.gossip.verdict import STRONG, Case, judge
from meshnode.kernel.instant import SECOND, Instant
from meshnode.model.ids import NodeId

_GONE = (MemberState.DOWN, MemberState.LEFT)


class Council:
    """Judges one subject in the light of all."""

    def __init__(self, config: GossipConfig, subjects: Mapping[NodeId, Subject]) -> None:
        self._config, self._subjects = config, subjects

    def suspicion_us(self) -> int:
        """How long a suspect may refute; news travels longer in a larger mesh."""
        return max(self._config.suspicion_us, round(1.5 * SECOND * math.log10(len(self._subjects) + 1)))

    def judge(self, subject: Subject, now: Instant) -> tuple[MemberState, str]:
        """The state and why. May excuse a silence until ``subject.excused_us``: judge again then."""
        if subject.left:
            return MemberState.LEFT, "left the mesh"
        if subject.fresh:
            return MemberState.READY, "linked"
        case = Case(
            votes=subject.all_votes(self._config.node),
            own=subject.own,
            observers=len(self.observers(subject)),
            ripe=subject.doubtful and now.mono_us >= subject.since_us + self.suspicion_us(),
            vouched=subject.vouched,
            hearsay=subject.hearsay,
            cut=self._excuse(subject, now),
            helper=self._name(subject.helper),
        )
        return judge(case)

    def observers(self, subject: Subject) -> list[NodeId]:
        """Known observers of a node that may still be alive; this node among them if it had a link."""
        known = {**subject.observers, **dict.fromkeys(subject.votes)}
        alive = [node for node in known if self._may_observe(node, subject)]
        return ([self._config.node] if subject.observed else []) + alive

    def cut_off(self) -> bool:
        """Most links went silent: more likely it is us."""
        observed = [s for s in self._subjects.values() if s.observed and s.state not in _GONE]
        weak = sum(s.own is not None and s.own < STRONG for s in observed)
        return len(observed) >= 2 and 2 * weak > len(observed)

    def _may_observe(self, node: NodeId, of: Subject) -> bool:
        subject = self._subjects.get(node)
        if subject is None or node in (of.node, self._config.node):
            return False
        refused = subject.own is not None and subject.own >= STRONG
        return not refused and subject.state not in _GONE

    def _excuse(self, subject: Subject, now: Instant) -> str:
        """Why silence proves nothing. It goes on for a while after a cut: links do not come back all at once."""
        cut = self._cut(subject) if subject.doubtful else ""
        if subject.cut and not cut:
            subject.excused_us = now.mono_us + self.suspicion_us()
        subject.cut = bool(cut)
        return "silent since a cut" if not cut and now.mono_us < subject.excused_us else cut

    def _cut(self, subject: Subject) -> str:
        if self.cut_off():
            return "silent; this node hears hardly anybody"
        region = subject.region
        if region == self._config.region:
            return ""
        there = [s for s in self._subjects.values() if s.region == region and s.state is not MemberState.LEFT]
        silent = [s for s in there if not s.fresh and (s.doubtful or s.state is not MemberState.READY)]
        return f"region {region} unreachable" if 2 <= len(there) == len(silent) else ""

    def _name(self, node: NodeId | None) -> str:
        subject = self._subjects.get(node) if node else None
        return subject.name if subject else ""
