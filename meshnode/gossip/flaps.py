"""Which verdicts people are told. Routing follows every change; who reads events must not drown in one shaky node.

A node that went down twice within two minutes is not called back before it was ready for half a minute. Silence that
comes again within that time (a process that is stopped now and then) is only told about once it lasts a minute, and so
is that observers agree on a silence people know of already; a proof of death is told at once, however often. That a
node called down is only unreachable after all is no news. And who was away itself first reads what happened meanwhile:
what it then hears of the silence of others is told when its calm is over, if it is true still.
"""

from dataclasses import dataclass

from meshnode.gossip.messages import MemberState
from meshnode.kernel.instant import SECOND
from meshnode.kernel.machine import earliest
from meshnode.kernel.timers import Timers
from meshnode.model.ids import NodeId

WITHIN_US = 120 * SECOND
STABLE_US = 30 * SECOND
LASTING_US = 60 * SECOND
BACK = f"ready: for {STABLE_US // SECOND} s now, after it went down more than once"
STORIES_MAX = 1024  # the oldest are forgotten first, and told about like any other node
_GONE = (MemberState.DOWN, MemberState.UNREACHABLE)
_DOUBTED = (*_GONE, MemberState.SUSPECT)


@dataclass(slots=True)
class _Story:
    down_us: int
    told: MemberState
    shaky: bool = False
    back: bool = False  # not down since the last time


class Flaps:
    """Nodes that went down lately."""

    def __init__(self) -> None:
        self._stories: dict[NodeId, _Story] = {}
        self._silent: dict[NodeId, None] = {}  # called unreachable, and nothing before
        self._stable: Timers[NodeId] = Timers()
        self._lasting: Timers[NodeId] = Timers()
        self._hushed: Timers[NodeId] = Timers()
        self._calm_us = 0  # no silence is told of before

    def calm(self, until_us: int) -> None:
        """This node was away."""
        self._calm_us = max(self._calm_us, until_us)

    def tells(self, node: NodeId, state: MemberState, now_us: int, *, proven: bool = True) -> bool:
        """Whether this change is announced. ``proven``: by more than silence."""
        self._stable.cancel(node)
        self._hushed.cancel(node)
        if now_us < self._calm_us and not proven and state in _DOUBTED:
            self._hushed.set(node, self._calm_us)
            return False
        story = self._stories.get(node)
        if state is MemberState.DOWN and not proven and self._agreed(node, story, now_us):
            return False
        if state is not MemberState.SUSPECT:
            self._silent.pop(node, None)
        if story is not None and state in _GONE and not proven and self._again(node, story, now_us):
            return False
        if story is not None and state is MemberState.UNREACHABLE and story.told is MemberState.DOWN:
            story.back = True
            return False
        if state is not MemberState.SUSPECT:
            self._lasting.cancel(node)
        if state is MemberState.DOWN:
            story = self._down(node, story, now_us)
        elif story is None:
            self._hush(node, state)
            return True
        if state is MemberState.LEFT:
            del self._stories[node]
            return True
        story.back = story.back or state is not MemberState.DOWN
        if story.shaky and state not in _GONE and story.told in _GONE:
            if state is MemberState.READY:
                self._stable.set(node, now_us + STABLE_US)
            return False
        news = state is not story.told
        story.told = state
        return news

    def due(self, now_us: int) -> list[NodeId]:
        """Who was ready for long enough to be called ready."""
        nodes = self._stable.pop_due(now_us)
        for node in nodes:
            self._stories[node].told, self._stories[node].shaky = MemberState.READY, False
        return nodes

    def lasting(self, now_us: int) -> list[NodeId]:
        """Who is silent again, and for so long that it is told."""
        nodes = self._lasting.pop_due(now_us)
        for node in nodes:
            story = self._stories[node]
            story.shaky = story.shaky or story.back
            story.told, story.back, story.down_us = MemberState.DOWN, False, now_us
        return nodes

    def hushed(self, now_us: int) -> list[NodeId]:
        """Of whom something was not told while this node was calm: ask again."""
        return self._hushed.pop_due(now_us)

    def deadline(self) -> int | None:
        return earliest(self._stable.deadline(), self._lasting.deadline(), self._hushed.deadline())

    def forget(self, node: NodeId) -> None:
        self._stories.pop(node, None)
        self._silent.pop(node, None)
        for timers in (self._stable, self._lasting, self._hushed):
            timers.cancel(node)

    def _again(self, node: NodeId, story: _Story, now_us: int) -> bool:
        """Silent once more, soon after it came back: wait whether it lasts."""
        if story.told in _GONE or not story.back or now_us > story.down_us + WITHIN_US:
            return False
        if node not in self._lasting:
            self._lasting.set(node, now_us + LASTING_US)
        return True

    def _hush(self, node: NodeId, state: MemberState) -> None:
        """Its silence is told now."""
        if state is MemberState.UNREACHABLE:
            self._silent[node] = None
            if len(self._silent) > STORIES_MAX:
                del self._silent[next(iter(self._silent))]

    def _agreed(self, node: NodeId, story: _Story | None, now_us: int) -> bool:
        """Others say so, too: of what was told as silence that is no news before it lasts."""
        if node not in self._silent and (story is None or story.told is not MemberState.UNREACHABLE):
            return False
        self._silent.pop(node, None)
        self._keep(node, story or _Story(now_us, MemberState.UNREACHABLE))
        if node not in self._lasting:
            self._lasting.set(node, now_us + LASTING_US)
        return True

    def _keep(self, node: NodeId, story: _Story) -> None:
        self._stories[node] = story
        if len(self._stories) > STORIES_MAX:
            self.forget(next(iter(self._stories)))

    def _down(self, node: NodeId, story: _Story | None, now_us: int) -> _Story:
        if story is None or (story.back and now_us > story.down_us + WITHIN_US and not story.shaky):
            self._stories.pop(node, None)
            story = _Story(now_us, MemberState.READY)
            self._keep(node, story)
        elif story.back:
            story.shaky, story.back, story.down_us = True, False, now_us
        return story
