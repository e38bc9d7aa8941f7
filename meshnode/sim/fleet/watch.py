"""What is counted while a fleet runs: letters by kind, when who heard of what, and what each node thinks of others."""

from dataclasses import dataclass, field

from meshnode.gossip.messages import Described, MemberChanged, MemberState
from meshnode.kernel.effects import Fact
from meshnode.model.ids import NodeId

PUSH, IHAVE, GRAFT = 7, 8, 9
TAGS_MAX = 32


@dataclass(slots=True)
class Story:
    """One change of one row, and when each node heard of it. ``copies`` of it in full were sent to ``others`` nodes."""

    origin: NodeId
    since_us: int
    others: int = 0
    copies: int = 0
    heard_us: dict[NodeId, int] = field(default_factory=dict[NodeId, int])


class Watch:
    """Filled in by the fleet. ``open`` and ``close`` bound what a story counts."""

    def __init__(self, *, changes: bool = False) -> None:
        """``changes``: keep every verdict about a node, for small fleets."""
        self.letters, self.bytes = [0] * TAGS_MAX, [0] * TAGS_MAX
        self.stories: dict[NodeId, Story] = {}
        self.changes: list[tuple[int, NodeId, NodeId, MemberState]] = []
        self.verdicts: dict[MemberState, int] = {}
        self.rejects: dict[str, int] = {}
        self.pieces = 0
        self._changes = changes
        self._begun: Story | None = None  # its rumour is the next one its origin sends
        self._rumours: dict[bytes, Story] = {}  # by the letter that carries them

    def reset(self) -> None:
        """Count from now on."""
        self.letters, self.bytes, self.pieces = [0] * TAGS_MAX, [0] * TAGS_MAX, 0

    def open(self, origin: NodeId, now_us: int, others: int = 0) -> Story:
        story = self._begun = self.stories[origin] = Story(origin, now_us, others)
        return story

    def close(self, story: Story) -> None:
        if self.stories.get(story.origin) is story:
            del self.stories[story.origin]

    def pushed(self, sender: NodeId, letter: bytes) -> None:
        """A rumour in full leaves. Whatever else is spread meanwhile is no copy of a story."""
        begun = self._begun
        if begun is not None and begun.origin == sender:
            self._rumours[letter], self._begun = begun, None
        story = self._rumours.get(letter)
        if story is not None:
            story.copies += 1

    def told(self, node: NodeId, fact: Fact, now_us: int) -> None:
        if isinstance(fact, Described):
            story = self.stories.get(fact.node)
            if story is not None:
                story.heard_us.setdefault(node, now_us)
        elif isinstance(fact, MemberChanged):
            self.verdicts[fact.state] = self.verdicts.get(fact.state, 0) + 1
            if self._changes:
                self.changes.append((now_us, node, fact.node, fact.state))

    def refused(self, reason: str) -> None:
        self.rejects[reason] = self.rejects.get(reason, 0) + 1
