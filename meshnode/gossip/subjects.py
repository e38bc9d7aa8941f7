"""All other nodes, as far as the detector has to remember anything about them.

Of ten thousand nodes all but a few are plain: known through others, not linked, not doubted. Those have no object here:
what they are follows from their row. A node gets one when something happens to it, and loses it when it is plain again.
What verdicts ask about many nodes at once (who is doubted, who of a region is silent) is kept as nodes change.
"""

from collections.abc import Iterable, Iterator
from typing import TypeVar

from meshnode.gossip.directory import Directory, Entry
from meshnode.gossip.messages import MemberState
from meshnode.gossip.subject import Subject
from meshnode.model.ids import NodeId

KeyT = TypeVar("KeyT")
ValueT = TypeVar("ValueT")

OBSERVED_MAX = 256  # former neighbours whose loss this node may still testify to; the oldest leave first


class Subjects:
    """Sparse: ``held`` are those with an object, ``unheard`` those nobody has vouched for yet."""

    def __init__(self, me: NodeId, directory: Directory) -> None:
        self._me, self._directory = me, directory
        self._held: dict[NodeId, Subject] = {}
        self._unheard: dict[NodeId, tuple[str, int]] = {}  # with their regions, and since when
        self._unheard_in: dict[str, int] = {}
        self._observed: dict[NodeId, None] = {}
        self._silent: dict[str, dict[NodeId, None]] = {}
        self.doubtful: dict[NodeId, Subject] = {}
        self.watched: dict[NodeId, Subject] = {}  # neighbours, and those whose loss this node saw

    # -- questions ----------------------------------------------------------------------------------------------------

    def held(self, node: NodeId) -> Subject | None:
        return self._held.get(node)

    def view(self, node: NodeId) -> Subject | None:
        """To be read: changes to it are lost if the node is plain."""
        held = self._held.get(node)
        if held is not None:
            return held
        entry = self._directory.counted(node)
        return None if entry is None or node == self._me else self._plain(node, entry)

    def state(self, node: NodeId) -> MemberState | None:
        """Without making an object."""
        held = self._held.get(node)
        if held is not None:
            return held.state
        entry = self._directory.counted(node)
        if entry is None or node == self._me:
            return None
        if entry.left:
            return MemberState.LEFT
        return MemberState.UNREACHABLE if node in self._unheard else MemberState.READY

    def region(self, node: NodeId) -> str | None:
        entry = self._directory.counted(node)
        return entry.member.region if entry is not None else None

    def all(self) -> Iterator[Subject]:
        """Everybody. A walk over the directory: not to be done for an event."""
        for entry in self._directory.all():
            subject = self.view(entry.node)
            if subject is not None:
                yield subject

    def notable(self) -> Iterator[Subject]:
        """Linked, doubted or not ready; who left only while something else is to be remembered."""
        yield from tuple(self._held.values())
        for node in tuple(self._unheard):
            subject = self.view(node)
            if subject is not None:
                yield subject

    def known(self) -> Iterator[Subject]:
        """Those with an object."""
        yield from self._held.values()

    def gaps(self) -> list[NodeId]:
        """Those nobody has vouched for."""
        return [*(s.node for s in self._held.values() if not s.vouched), *self._unheard]

    def unheard(self) -> Iterable[NodeId]:
        return self._unheard.keys()

    def silent(self, region: str) -> int:
        """How many of a region are doubted or not ready, none of them heard here."""
        return len(self._silent.get(region, ())) + self._unheard_in.get(region, 0)

    def living(self, region: str) -> int:
        return len(self._directory.in_region(region))

    def count(self) -> int:
        """The other members."""
        return max(0, len(self._directory.rows) - (self._me in self._directory.rows))

    # -- changes ------------------------------------------------------------------------------------------------------

    def take(self, node: NodeId) -> Subject | None:
        """To be changed: from now on it has an object."""
        subject = self.view(node)
        if subject is not None:
            self.put(subject)
        return subject

    def put(self, subject: Subject) -> None:
        self._held[subject.node] = subject
        self._observed.pop(subject.node, None)
        self._hear(subject.node)
        self.note(subject)

    def learnt(self, subject: Subject, before: Entry | None) -> Subject:
        """A row of a node without an object: what it was until now (``before``: its row), under what it signed now."""
        node = subject.node
        if before is not None:
            old = self._plain(node, before)
            subject.state, subject.reason = old.state, old.reason
            subject.vouched = old.vouched
            subject.observed = old.observed and before.boot == subject.boot
        self.put(subject)
        return subject

    def retold(self, node: NodeId, incarnation: int, now_us: int) -> bool:
        """One that is well has just said something else of itself, under the boot held here: whether that is all there
        is to it. While nobody is doubted no verdict hangs on such a word."""
        if self.doubtful:
            return False
        held = self._held.get(node)
        if held is None:
            return self.state(node) is MemberState.READY
        if not held.linked or held.state is not MemberState.READY:
            return False
        held.incarnation, held.vouched, held.proof_us = incarnation, True, now_us
        return True

    def describe(self, subject: Subject, name: str, region: str, *, left: bool) -> None:
        """What its newer row says."""
        if region != subject.region:
            self._silent.get(subject.region, {}).pop(subject.node, None)
        subject.name, subject.region, subject.left = name, region, left

    def settled(self, subject: Subject, now_us: int) -> bool:
        """Keep in mind what a node is now; true if it is plain: nothing but its row needs to be remembered."""
        if not self._folds(subject, now_us):
            self.note(subject)
            return False
        node = subject.node
        self._erase(subject)
        if not subject.vouched and not subject.left:
            self._unheard[node] = (subject.region, subject.changed_us)
            self._unheard_in[subject.region] = self._unheard_in.get(subject.region, 0) + 1
        if subject.observed:
            self._observed[node] = None
            if len(self._observed) > OBSERVED_MAX:
                del self._observed[next(iter(self._observed))]
        return True

    def note(self, subject: Subject) -> None:
        """Its evidence, or what it is, may have changed."""
        node = subject.node
        mark(self.doubtful, node, subject, there=subject.doubtful)
        mark(self.watched, node, subject, there=subject.observed and (subject.linked or subject.own is not None))
        silent = not subject.fresh and not subject.left and (subject.doubtful or subject.state is not MemberState.READY)
        inside = self._silent.setdefault(subject.region, {}) if silent else self._silent.get(subject.region)
        if inside is not None:
            mark(inside, node, None, there=silent)

    def forget(self, node: NodeId) -> None:
        subject = self._held.get(node)
        if subject is not None:
            self._erase(subject)
        self._observed.pop(node, None)
        self._hear(node)

    # -- how it is kept -----------------------------------------------------------------------------------------------

    def _plain(self, node: NodeId, entry: Entry) -> Subject:
        member = entry.member
        subject = Subject(node, member.name, member.region, entry.boot, entry.incarnation, entry.left)
        subject.observed = node in self._observed
        if entry.left:
            subject.state, subject.reason = MemberState.LEFT, "left the mesh"
        elif node in self._unheard:
            subject.changed_us = self._unheard[node][1]
        else:
            subject.vouched = True
            subject.state, subject.reason = MemberState.READY, "known through others"
        return subject

    def _folds(self, subject: Subject, now_us: int) -> bool:
        if subject.linked or self._directory.counted(subject.node) is None:
            return False
        if subject.left:
            return True
        unsaid = subject.vouched or subject.hearsay is None
        return unsaid and not subject.doubtful and subject.excused_us <= now_us

    def _erase(self, subject: Subject) -> None:
        node = subject.node
        self._held.pop(node, None)
        self.doubtful.pop(node, None)
        self.watched.pop(node, None)
        self._silent.get(subject.region, {}).pop(node, None)

    def _hear(self, node: NodeId) -> None:
        held = self._unheard.pop(node, None)
        if held is not None:
            self._unheard_in[held[0]] -= 1


def mark(among: dict[KeyT, ValueT], node: KeyT, value: ValueT, *, there: bool) -> None:
    """Among them or not."""
    if there:
        among[node] = value
    else:
        among.pop(node, None)
