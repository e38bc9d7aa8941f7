"""Which verdicts people are told. Routing follows every change; who reads events must not drown in one shaky node.

A node is lost once it is told as *unreachable* or *down*, and whichever it was, the next loss within two minutes of its
return makes it shaky: it is not called back before it was ready for half a minute, and doubts about it are no news
meanwhile. Silence of one that is lost again (a process that is stopped now and then) is only told about once it lasts
a minute, and so is that observers agree on a silence people know of already; a proof of death is told at once, however
often. That a node called down is only unreachable after all is no news. Nodes of a region that is cut off are told as
that region, so what is told of each of them is not counted. And who was away itself first reads what happened
meanwhile: what it then hears of the silence of others is told when its calm is over, if it is true still.
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
BACK = f"ready: for {STABLE_US // SECOND} s now, after it was lost more than once"
STORIES_MAX = 1024  # the oldest are forgotten first, and told about like any other node
_GONE = (MemberState.DOWN, MemberState.UNREACHABLE)
_DOUBTED = (*_GONE, MemberState.SUSPECT)


@dataclass(slots=True)
class _Story:
    """``held``: what it is, told or not."""

    told: MemberState
    held: MemberState
    back_us: int | None = None  # when it was heard again; ``None``: lost now
    shaky: bool = False


class Flaps:
    """Nodes that were lost lately."""

    def __init__(self) -> None:
        self._stories: dict[NodeId, _Story] = {}
        self._stable: Timers[NodeId] = Timers()
        self._lasting: Timers[NodeId] = Timers()
        self._hushed: Timers[NodeId] = Timers()
        self._calm_us = 0  # no silence is told of before

    def calm(self, until_us: int) -> None:
        """This node was away."""
        self._calm_us = max(self._calm_us, until_us)

    def tells(self, node: NodeId, state: MemberState, now_us: int, *, proven: bool = True, apart: bool = False) -> bool:
        """Whether this change is announced. ``proven``: by more than silence; ``apart``: its region is cut off."""
        self._stable.cancel(node)
        self._hushed.cancel(node)
        story = self._stories.get(node)
        if story is not None:
            story.held = state
        if now_us < self._calm_us and not proven and state in _DOUBTED:
            self._hushed.set(node, self._calm_us)
            return False
        if apart or story is None:
            self._lasting.cancel(node)
            if not apart and state in _GONE:
                self._keep(node, _Story(state, state))
            return True
        if state in _GONE:
            return self._lost(node, story, now_us, proven=proven)
        return self._heard(node, story, now_us)

    def words(self, now_us: int) -> list[tuple[NodeId, str]]:
        """What was held back and is told now, each with its text; "": what the node is."""
        return [*((node, BACK) for node in self.due(now_us)), *((node, "") for node in self.lasting(now_us))]

    def due(self, now_us: int) -> list[NodeId]:
        """Who was ready for long enough to be called ready."""
        nodes = self._stable.pop_due(now_us)
        for story in self._told(nodes):
            story.shaky = False
        return nodes

    def lasting(self, now_us: int) -> list[NodeId]:
        """Who is silent again, and for so long that it is told."""
        nodes = self._lasting.pop_due(now_us)
        self._told(nodes)
        return nodes

    def hushed(self, now_us: int) -> list[NodeId]:
        """Of whom something was not told while this node was calm: ask again."""
        return self._hushed.pop_due(now_us)

    def deadline(self) -> int | None:
        return earliest(self._stable.deadline(), self._lasting.deadline(), self._hushed.deadline())

    def forget(self, node: NodeId) -> None:
        self._stories.pop(node, None)
        for timers in (self._stable, self._lasting, self._hushed):
            timers.cancel(node)

    def _lost(self, node: NodeId, story: _Story, now_us: int, *, proven: bool) -> bool:
        if story.back_us is not None:
            lately = now_us <= story.back_us + WITHIN_US
            story.shaky = lately or (story.shaky and story.told in _DOUBTED)
            story.back_us = None
        if story.told in (story.held, MemberState.DOWN):
            self._lasting.cancel(node)
            return False
        if not proven and (story.shaky or story.told in _GONE):
            if node not in self._lasting:
                self._lasting.set(node, now_us + LASTING_US)
            return False
        self._lasting.cancel(node)
        story.told = story.held
        return True

    def _heard(self, node: NodeId, story: _Story, now_us: int) -> bool:
        """Or doubted only, which is no news of one that is lost: another one hears it."""
        if story.held is MemberState.SUSPECT and story.back_us is None:
            return False
        if story.back_us is None:
            story.back_us = now_us
        self._lasting.cancel(node)
        if story.held is MemberState.LEFT:
            del self._stories[node]
            return True
        if story.shaky and story.told in _DOUBTED:
            if story.held is MemberState.READY:
                self._stable.set(node, now_us + STABLE_US)
            return False
        news = story.held is not story.told
        story.told = story.held
        return news

    def _told(self, nodes: list[NodeId]) -> list[_Story]:
        """What these are was told now."""
        stories = [story for node in nodes if (story := self._stories.get(node)) is not None]
        for story in stories:
            story.told = story.held
        return stories

    def _keep(self, node: NodeId, story: _Story) -> None:
        """A word that waits for its time is told though its story is forgotten."""
        self._stories[node] = story
        if len(self._stories) > STORIES_MAX:
            del self._stories[next(iter(self._stories))]
