"""What neighbours tell about others: it fills the gaps of what is known here, and never overrules what was seen.

After a start all of a large mesh is unheard, and the first neighbour's word is about every one of them. It is read a
slice a turn, so that no turn is a long one.
"""

from meshnode.gossip.letters import ALIAS_BYTES, UNREADY_MAX, Standing
from meshnode.gossip.messages import MemberState
from meshnode.gossip.subject import SILENT_NEIGHBOUR, Subject, Word
from meshnode.gossip.subjects import Subjects
from meshnode.kernel.instant import MS, Instant
from meshnode.model.ids import NodeId

SLICE = 500  # nodes in one turn; a thousand took 23 ms on a busy machine
PAUSE_US = 5 * MS  # for others to have their turn
UNREAD_MAX = 64  # neighbours; who comes beyond is not listened to, as one that told nothing
STATES = {state.value: state for state in (MemberState.SUSPECT, MemberState.UNREACHABLE, MemberState.DOWN)}


class Hearsay:
    """The words of neighbours, and who has still to be judged by them."""

    def __init__(self, subjects: Subjects) -> None:
        self._subjects = subjects
        self._words: dict[NodeId, Word] = {}
        self._backlog = Backlog()

    def standing(self, whole_mesh_max: int) -> Standing | None:
        """What to tell a new neighbour about the others; ``None`` when all are ready.

        In a large mesh even that is told: there a word about all is the only one that comes about most. Who is not
        vouched for here, or has too much to tell, vouches for nobody.
        """
        told = [(s.node[:ALIAS_BYTES], s.state.value) for s in self._subjects.known() if s.state.value in STATES]
        unheard = list(self._subjects.unheard())
        if self._subjects.count() >= whole_mesh_max:
            return Standing(told[:UNREADY_MAX], partial=bool(unheard) or len(told) > UNREADY_MAX)
        told += [(node[:ALIAS_BYTES], MemberState.UNREACHABLE.value) for node in unheard]
        return Standing(told[:UNREADY_MAX]) if told else None

    def told(self, peer: NodeId, letter: Standing, now: Instant) -> list[Subject]:
        """A neighbour's view came. Returns whom it changed, as ``read`` does."""
        told = {alias: STATES[state] for alias, state in letter.unready if state in STATES}
        self._words[peer] = Word(told, letter.partial)
        self._backlog.add(peer, [node for node in self._subjects.gaps() if node != peer], now)
        return self.read(now)

    def down(self, peer: NodeId) -> None:
        """Its word counts no more."""
        self._words.pop(peer, None)
        self._backlog.drop(peer)

    def read(self, now: Instant) -> list[Subject]:
        """The next of those nobody vouches for, as a neighbour holds them. They are to be judged."""
        changed: list[Subject] = []
        for peer, node in self._backlog.take(now):
            subject = self._subjects.view(node)
            if subject is not None and not subject.vouched and not subject.doubtful:
                self._subjects.put(subject)
                self.hear(subject, peer)
                changed.append(subject)
        return changed

    def hear(self, subject: Subject, peer: NodeId) -> None:
        """Who says nothing about a node says that it is well."""
        word = self._words.get(peer, SILENT_NEIGHBOUR)
        subject.hearsay = word.told.get(subject.node[:ALIAS_BYTES])
        subject.vouched = subject.hearsay is None and not word.partial

    def deadline(self) -> int | None:
        return self._backlog.deadline()


class Backlog:
    """By neighbour, in the order in which they spoke."""

    def __init__(self) -> None:
        self._unread: dict[NodeId, list[NodeId]] = {}
        self._due_us: int | None = None

    def add(self, peer: NodeId, nodes: list[NodeId], now: Instant) -> None:
        """What it told before is void."""
        self._unread.pop(peer, None)
        if nodes and len(self._unread) < UNREAD_MAX:
            self._unread[peer] = nodes[::-1]
            self._due_us = now.mono_us if self._due_us is None else self._due_us

    def drop(self, peer: NodeId) -> None:
        """Its word counts no more."""
        self._unread.pop(peer, None)
        self._due_us = self._due_us if self._unread else None

    def take(self, now: Instant) -> list[tuple[NodeId, NodeId]]:
        """The next few, each with who told about it."""
        if self._due_us is None or self._due_us > now.mono_us:
            return []
        taken: list[tuple[NodeId, NodeId]] = []
        while self._unread and len(taken) < SLICE:
            peer, nodes = next(iter(self._unread.items()))
            few = nodes[len(taken) - SLICE :]
            del nodes[len(taken) - SLICE :]
            taken += [(peer, node) for node in reversed(few)]
            if not nodes:
                del self._unread[peer]
        self._due_us = now.mono_us + PAUSE_US if self._unread else None
        return taken

    def deadline(self) -> int | None:
        return self._due_us
