"""From what is known about others to whom to dial: kept as verdicts change, planned once a turn at most.

In a small mesh every change is planned at once, but for a moment in which more may be heard. In a large one most
changes mean nothing to the links of this node, and those that do wait a moment for others, unless a link was lost or
the node knows nobody. Where many meet for the first time, the first link brings the news of all the others: whoever has
one waits until no more news come, though the one who brings them has had its turn, and then draws from all of them.
"""

from collections.abc import Callable, Sequence

from meshnode.gossip.broadcast import ALERTS_US
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.contacts import Contacts
from meshnode.gossip.detector import Detector
from meshnode.gossip.directory import Directory
from meshnode.gossip.letters import Probe, SignedRow, post
from meshnode.gossip.messages import MemberState
from meshnode.gossip.overlay import Overlay
from meshnode.gossip.relays import Relays, direct
from meshnode.gossip.selfrow import SelfRow
from meshnode.gossip.strays import Strays
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.ports import LinkStats
from meshnode.links.tunnelwire import relay_at
from meshnode.model.ids import UNKNOWN_NODE, NodeId

SECOND_DIAL_US = 400 * MS  # of two nodes that hear of each other the smaller id dials first
PLAN_EVERY_US = 100 * MS
NEWS_US = 50 * MS  # who joins hears of many at once, and must not dial all the first seven of them
HURRY_EVERY_US = 5 * SECOND
HELD_MEMBERS_MIN = 8  # facts of fewer cost nothing to tell at once, and people wait for what they just started
RUSH_CALM_US = 1_500 * MS  # no new member for so long: the rush is over
RUSH_MAX_US = 10 * SECOND
PROMPT_US = 250 * MS  # who answers later is starved, and may have more news than it had time to read
LATER_US = 800 * MS  # half of the links that are wanted come from the other side, if it is given the time
# After one who was lost is back, each other one is given so long to be heard of over the link that brought the news:
# whoever dialled the next of its lost ones as soon as one was found would dial all of them in turn.
NEWS_COME_US = 2 * SECOND


class Outlook:
    """All the others, as the overlay sees them: the ``Mesh`` of ``wishes.py``."""

    def __init__(
        self, config: GossipConfig, me: SelfRow, directory: Directory, detector: Detector, links: LinkStats
    ) -> None:
        self._node, self._region, self._me, self._links = config.node, config.region, me, links
        self._directory, self._detector = directory, detector

    def others(self) -> int:
        rows = self._directory.rows
        return len(rows) - (self._node in rows)

    def regions(self) -> Sequence[str]:
        return self._directory.regions()

    def in_region(self, region: str) -> Sequence[NodeId]:
        return self._directory.in_region(region)

    def region_of(self, node: NodeId) -> str | None:
        entry = self._directory.entry(node)
        return entry.member.region if entry is not None and node in self._directory.rows else None

    def near(self, node: NodeId) -> bool:
        return self.region_of(node) == self._region

    def deserted(self, region: str) -> bool:
        return self._detector.deserted(region)

    def dialable(self) -> bool:
        """Others can dial this node, as far as it knows."""
        return bool(direct(self._me.endpoints)) and all(
            relay_at(host) in (None, self._node) for host, _ in self._me.endpoints
        )

    def open(self, node: NodeId) -> bool:
        if node == self._node or self.lost(node):
            return False
        entry = self._directory.entry(node)
        return entry is not None and entry.dialable

    def rtt_us(self, peer: NodeId) -> int | None:
        return self._links.rtt_us(peer)

    def lost(self, node: NodeId) -> bool:
        """Asked of thousands for one plan: no object is made for it."""
        return self._detector.state(node) is not MemberState.READY or self._detector.lost(node)

    def ours(self, node: NodeId) -> bool:
        """Lost by evidence of our own on a link we had."""
        subject = self._detector.subject(node)
        return subject is not None and subject.observed and subject.own is not None

    def reported(self, node: NodeId) -> bool:
        """Others say that it is lost, in words that reach it when a cut heals: it answers them by itself."""
        subject = self._detector.subject(node)
        return subject is not None and bool(subject.votes)


class Planning:
    """Hands the overlay's wishes to those who dial."""

    def __init__(
        self, config: GossipConfig, me: SelfRow, directory: Directory, outlook: Outlook, overlay: Overlay,
        contacts: Contacts, relays: Relays, hold: Callable[[int], None] = lambda _: None,
    ) -> None:  # fmt: skip
        """``hold``: what is not about members is to wait until then."""
        self._config, self._me, self._directory = config, me, directory
        self._outlook, self._overlay, self._contacts, self._relays = outlook, overlay, contacts, relays
        self._relays_stale = True
        self.noted = False  # something that may make a difference to links, since they were planned last
        self._strays = Strays(config.node)
        self._rush, self._hold = Rush(), hold
        self._due_us: int | None = None
        self._hurried_us = -HURRY_EVERY_US
        self._lost_us = 0  # since when somebody is lost
        self._back_us = -NEWS_COME_US  # when somebody was back last

    # -- news ---------------------------------------------------------------------------------------------------------

    def note(self, node: NodeId, now: Instant) -> None:
        """What is known about a node has changed."""
        if node == self._config.node:
            return
        self.noted = True
        members = len(self._directory.rows)
        if self._rush.count(members, now) and members >= HELD_MEMBERS_MIN:
            self._hold(self._rush.until_us)
        entry = self._directory.entry(node)
        self._relays_stale = True
        if entry is not None and self._overlay.linked(node):
            self._contacts.upgrades.watch(node, direct(entry.row.endpoints), now)
        matters = node in self._strays or self._overlay.matters(node)
        if entry is not None and node in self._directory.rows and self._outlook.lost(node):
            self._rush.lost(node, now)
            self._lost_us = self._lost_us if len(self._strays) else now.mono_us
            self._strays.lose(node, entry.row.boot, ours=self._outlook.ours(node))
            if not self._outlook.reported(node):
                self._contacts.hasten(node, now)
        else:
            lost_boot = self._strays.find(node)
            if lost_boot is not None and entry is not None and lost_boot == entry.row.boot:
                self._back_us = now.mono_us
                self._hurry(now)
        if entry is not None and entry.member.region == self._config.region:
            self._overlay.elect()
        if matters or node in self._strays.sought():
            soon_us = (0 if node in self._strays else NEWS_US) if self._overlay.small else PLAN_EVERY_US
            self._plan_by(self._rush.after(now.mono_us + soon_us, links=not self._overlay.lonely))

    def learnt(self, node: NodeId, now: Instant, *, facts_only: bool) -> None:
        """A newer row. Where it only tells other facts of a node that is well, links stay as they are: of fifty nodes
        each would plan anew for each such rumour."""
        if not facts_only or self.seeks(node) or self._outlook.lost(node):
            self.note(node, now)

    def seeks(self, node: NodeId) -> bool:
        """It is lost to this node, and not found again."""
        return node in self._strays

    def settled(self, node: NodeId) -> bool:
        """No address of this node needs a dial: it is linked, or a large mesh has it and this node has the mesh."""
        overlay = self._overlay
        return overlay.linked(node) or not (overlay.small or overlay.lonely or self._outlook.lost(node))

    def forget(self, node: NodeId) -> None:
        self._strays.find(node)
        self._contacts.drop(node)

    def found_out(self, *, hidden: bool, now: Instant) -> None:
        """This node can be dialled by nobody, or can again."""
        self._relays.undialable, self._relays_stale = hidden, True
        self._plan_by(now.mono_us)

    def links_changed(self, node: NodeId, now: Instant) -> None:
        """One came or went: that is planned in this very turn."""
        if not self._overlay.linked(node):
            self._rush.lost(node, now)
        self.note(node, now)
        self._plan_by(self._rush.after(now.mono_us, links=not self._overlay.lonely))

    def dial_failed(self, node: NodeId, now: Instant) -> None:
        """It goes on being looked for, unless the dial was for a call."""
        called = node in self._overlay.demanded()
        self._overlay.give_up(node)
        self.note(node, now)
        if called or self._overlay.small:
            self._plan_by(now.mono_us)

    def lost_long(self, now: Instant) -> bool:
        """Whether all who are lost must be reached to be found. Of a shorter cut one link from beyond it tells all: the
        alerts are told on it, and each of those they are about answers with a newer row."""
        return self._overlay.small or now.mono_us - self._lost_us > ALERTS_US

    def _hurry(self, now: Instant) -> None:
        """Who was thought lost, and had never ended, is back: a cut heals, so the other lost ones are dialled now."""
        if self.lost_long(now) and not self._overlay.small and now.mono_us >= self._hurried_us + HURRY_EVERY_US:
            self._hurried_us = now.mono_us
            for node in self._strays.sought(few=self._overlay.full):
                self._contacts.hurry(node, now)

    def readdressed(self, now: Instant) -> SignedRow | None:
        """The own row, if it names other relays than before."""
        if not self._relays_stale or not (self._relays.hidden or self._relays.used) or self._me.left:
            return None
        self._relays_stale = False
        if not self._relays.choose(self._overlay.peers()):
            return None
        self._overlay.kept = dict.fromkeys(self._relays.used)
        self._plan_by(now.mono_us)
        return self._me.readdress(self._relays.endpoints(self._relays.own), now)

    # -- plans --------------------------------------------------------------------------------------------------------

    def _plan_by(self, at_us: int) -> None:
        self._due_us = at_us if self._due_us is None else min(self._due_us, at_us)

    def wake(self, now: Instant) -> list[Effect]:
        self.noted = False
        rethink_us = self._overlay.rethink_us
        due = self._due_us is not None and self._due_us <= now.mono_us
        if not due and (rethink_us is None or rethink_us > now.mono_us):
            return []
        self._due_us = None
        heard = (peer for peer in self._overlay.peers() if not self._outlook.lost(peer))
        if self._rush.doubtful(now) and (first := next(heard, None)) is not None:
            self._overlay.rethink_us = None
            asked = self._rush.ask(first, now)
            self._plan_by(self._rush.until_us)
            return [post(first, Probe(first))] if asked else []
        self._rush.over(len(self._directory.rows), now)
        self._plan(now)
        return []

    def answered(self, peer: NodeId, now: Instant) -> None:
        """Who brings the news of a rush has read what was asked when none had come for a while."""
        if self._rush.answered(peer, now):
            self._due_us = self._rush.until_us
            if self._rush.until_us > now.mono_us:
                self._hold(self._rush.until_us)

    def deadline(self) -> int | None:
        return self._due_us

    def _plan(self, now: Instant) -> None:
        wanted = dict.fromkeys(
            (
                *self._overlay.wanted(self._strays.sought(few=self._overlay.full), now),
                *self._overlay.demanded(),
                *self._relays.wanted(lambda node: self._outlook.open(node) and not self._overlay.linked(node)),
            )
        )
        for node in self._contacts.aimed():
            if node not in wanted:
                self._contacts.drop(node)
        for number, node in enumerate(() if self._me.left else wanted):
            entry = self._directory.entry(node)
            if entry is not None:
                self._contacts.aim(node, entry.row.endpoints, self._delay_us(node, number, len(wanted), now), now)

    def spared_us(self, node: NodeId, now: Instant) -> int:
        """For so long a lost node needs no link of its own: a cut heals, and over the links of those who are back, or
        about to be, it answers what was said of it."""
        if not self._overlay.full or self.lost_long(now) or not self._outlook.reported(node):
            return 0
        back = now.mono_us < self._back_us + NEWS_COME_US
        return NEWS_COME_US if back or self._contacts.meets(self._outlook.lost, NEWS_COME_US, now) else 0

    def _delay_us(self, node: NodeId, number: int, count: int, now: Instant) -> int:
        """All nodes of a mesh that meets draw at once: who dialled all the links it wants would get as many again."""
        if node in self._strays:
            return self.spared_us(node, now)
        second = 0 if self._config.node < node else SECOND_DIAL_US
        return second if self._overlay.small or number < (count + 1) // 2 else second + LATER_US


class Rush:
    """Many who meet for the first time: the members known here doubled lately, and still grow in number.

    That no more came for a while says nothing where the one who brings them is starved of processor. So it is asked,
    and the rush is over when it answers at once; a late answer is news that there may be more.
    """

    def __init__(self) -> None:
        self._calm_count, self._count = 1, 1
        self._since_us = self.until_us = 0
        self._asked = UNKNOWN_NODE
        self._asked_us: int | None = None
        self._calm = False  # it answered at once

    def count(self, members: int, now: Instant) -> bool:
        """So many are known now. Whether the rush goes on because of that."""
        grows = members > self._count and members >= 2 * self._calm_count
        self._count = members
        if grows:
            self._since_us = self._since_us or now.mono_us
            self.until_us = min(now.mono_us + RUSH_CALM_US, self._end_us)
            self._asked_us, self._calm = None, False
        return grows

    def after(self, at_us: int, *, links: bool) -> int:
        """When to plan instead of then. Without ``links`` nobody would bring the news."""
        return max(at_us, self.until_us) if links else at_us

    def doubtful(self, now: Instant) -> bool:
        """It may go on, though nothing is heard of it. A few starve nobody."""
        return self._since_us > 0 and self._count >= HELD_MEMBERS_MIN and not self._calm and now.mono_us < self._end_us

    def ask(self, peer: NodeId, now: Instant) -> bool:
        """Wait for its answer. False: it is awaited already."""
        self.until_us = self._end_us
        if self._asked_us is not None and self._asked == peer:
            return False
        self._asked, self._asked_us = peer, now.mono_us
        return True

    def answered(self, peer: NodeId, now: Instant) -> bool:
        """Whether it was awaited, and links are to be planned, or it is to be asked again, at ``until_us``."""
        if self._asked_us is None or self._asked != peer:
            return False
        took_us, self._asked_us = now.mono_us - self._asked_us, None
        self._calm = took_us <= PROMPT_US
        self.until_us = now.mono_us if self._calm else min(now.mono_us + took_us, self._end_us)
        return True

    def lost(self, peer: NodeId, now: Instant) -> None:
        """Who is silent altogether, as behind a cut, or hung up is no starved one: its answer is awaited no more."""
        if self._asked_us is not None and self._asked == peer:
            self._asked_us, self.until_us = None, now.mono_us

    def over(self, members: int, now: Instant) -> None:
        """Links are planned: who comes from now on meets a mesh."""
        if now.mono_us >= self.until_us:
            self._calm_count, self._since_us, self._asked_us = members, 0, None

    @property
    def _end_us(self) -> int:
        return self._since_us + RUSH_MAX_US
