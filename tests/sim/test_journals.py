"""The journals of a mesh, gathered through one node while cuts, kills and lost disks pass over it."""

from collections.abc import Callable

import msgspec
import pytest

from meshnode.model.commands import GatherJournals, JournalCursor, ListLinks, ReadJournal
from meshnode.model.view_parts import JournalEntry
from meshnode.model.views import AnyView, JournalsView, JournalView, LinksView
from meshnode.node import journal_desk, story
from meshnode.node.core import Core
from meshnode.node.story import Page
from meshnode.sim.disk import SimDisk
from meshnode.sim.network import Cut
from meshnode.sim.node import Adapt, SimNode
from meshnode.sim.watching import Watcher
from meshnode.sim.world import Setup, World

Event = tuple[int, int, str]  # boot, number, text


class Gateway(Watcher):
    """A reader at the door of one node that keeps what it is told and asks on from there, as cloud_gateway does."""

    def __init__(self, world: World) -> None:
        self.world, self.door = world, world[0]
        self.cursors = {node.name: JournalCursor() for node in world.nodes}
        self.lives: dict[str, list[list[Event]]] = {node.name: [[]] for node in world.nodes}
        self.gaps: dict[str, int] = dict.fromkeys(self.cursors, 0)
        self.missing: dict[str, str] = {}
        self.faults: list[str] = []
        self._waits_for: int | None = None
        world.audience.gather([self])

    def look(self) -> None:
        """Ask, unless an answer is on its way."""
        if self._waits_for is None and self.door.usable:
            command = GatherJournals(reader="gw", cursors=dict(self.cursors), wait_ms=2_000)
            self._waits_for = self.door.ask(command)

    def died(self, node: SimNode) -> None:
        if node is self.door:
            self._waits_for = None

    def replied(self, node: SimNode, number: int, view: AnyView) -> None:
        if node is not self.door or number != self._waits_for:
            return
        self._waits_for = None
        assert isinstance(view, JournalsView), view
        self.missing = view.missing
        for journal in view.items:
            self._commit(journal)
        self.look()

    def _commit(self, journal: JournalView) -> None:
        name = journal.node
        if journal.anew:
            self.lives[name].append([])
        before = 0 if journal.anew else self.cursors[name].number
        kept = self.lives[name][-1]
        for item in journal.items:
            if item.number != before + 1:
                self.gaps[name] += 1
                if item.number != journal.first:
                    self.faults.append(f"{name}: from {before} to {item.number}, and {journal.first} is kept")
            if (item.boot, item.number) in ((boot, number) for boot, number, _ in kept):
                self.faults.append(f"{name}: {item.number} of boot {item.boot} came twice")
            before = item.number
            kept.append((item.boot, item.number, item.text))
        self.cursors[name] = JournalCursor(journal.boot, before, journal.run)

    def texts(self, name: str) -> list[str]:
        return [text for life in self.lives[name] for _, _, text in life]


class Storm:
    """A mesh with a gateway, and the hands that break it."""

    def __init__(self, seed: int, nodes: int = 5, adapt: Adapt | None = None) -> None:
        self.world = World(Setup(seed=seed, nodes=nodes, adapt=((nodes - 1, adapt),) if adapt else ()))
        self.gateway = Gateway(self.world)
        self.luck = self.world.luck("storm")
        self.cuts: list[Cut] = []
        self.world.start_all()
        self.pass_time(6)

    def pass_time(self, seconds: float) -> None:
        until_us = self.world.now_us + round(seconds * 1_000_000)
        while self.world.now_us < until_us:
            self.gateway.look()
            self.world.run_for(0.25)

    def cut_off(self, node: SimNode) -> None:
        others = [other.name for other in self.world.nodes if other is not node]
        pairs = [pair for other in others for pair in ((node.name, other), (other, node.name))]
        self.cuts.append(self.world.network.cut(Cut(tuple(pairs))))

    def cut_power(self, node: SimNode) -> None:
        node.lose_power()
        self.pass_time(self.luck.uniform(0, 2))
        node.gain_power()
        node.start()

    def kill(self, node: SimNode) -> None:
        node.kill()
        self.pass_time(self.luck.uniform(0, 2))
        node.start()

    def lose_disk(self, node: SimNode) -> None:
        node.lose_power()
        node.disk = SimDisk()
        node.gain_power()
        node.start()

    def strike(self) -> None:
        act = self.luck.choice((self.cut_off, self.cut_off, self.cut_power, self.kill))
        act(self.luck.choice(self.world.nodes))
        self.pass_time(self.luck.uniform(0.1, 5))
        if self.luck.random() < 0.4:
            self.heal()

    def heal(self) -> None:
        for cut in self.cuts:
            self.world.network.heal(cut)
        self.cuts.clear()

    def judge(self) -> list[str]:
        """What is wrong with what the gateway has, once the mesh is whole."""
        self.heal()
        for node in self.world.nodes:
            node.start()
        self.pass_time(45)
        faults = list(self.gateway.faults)
        faults += [f"{name} is missing: {why}" for name, why in self.gateway.missing.items()]
        for node in self.world.nodes:
            own = self._own(node)
            # Its newest events may be on their way.
            mine = [event for event in self.gateway.lives[node.name][-1] if event[1] >= own[0][1]]
            if mine != own[: len(mine)] or len(own) - len(mine) > 3:
                faults.append(f"{node.name} has {len(own)} events, the gateway {len(mine)} of them")
        return faults

    def _own(self, node: SimNode) -> list[Event]:
        items: list[JournalEntry] = []
        cursor, more = JournalCursor(), True
        while more:
            view = self.world.ask(node, ReadJournal(reader="judge", cursor=cursor))
            assert isinstance(view, JournalView), view
            items += view.items
            cursor, more = JournalCursor(view.boot, items[-1].number, view.run), view.more
        return [(item.boot, item.number, item.text) for item in items]


@pytest.mark.parametrize("seed", [1, 2, 3])
def test_every_event_arrives_once_through_cuts_kills_and_power_cuts(seed: int) -> None:
    storm = Storm(seed)
    for _ in range(10):
        storm.strike()
    assert storm.judge() == []
    assert all(len(lives) == 1 for lives in storm.gateway.lives.values()), "no journal began anew"
    assert not any(storm.gateway.gaps.values())


@pytest.mark.parametrize("seed", [4, 5])
def test_what_a_node_dropped_meanwhile_is_seen_as_a_gap(seed: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(story, "EVENTS_MAX", 12)
    storm = Storm(seed)
    far = storm.world[4]
    storm.cut_off(far)
    storm.pass_time(20)
    for other in storm.world.nodes[1:4]:
        storm.kill(other)
    storm.pass_time(10)
    assert storm.judge() == []
    assert storm.gateway.gaps[far.name] > 0


def test_events_of_a_node_that_cannot_be_reached_arrive_after_the_heal() -> None:
    storm = Storm(6)
    far = storm.world[3]
    storm.pass_time(3)
    storm.cut_off(far)
    storm.pass_time(12)
    assert far.name in storm.gateway.missing
    before = len(storm.gateway.texts(far.name))
    storm.pass_time(5)
    assert len(storm.gateway.texts(far.name)) == before
    storm.heal()
    storm.pass_time(20)
    assert far.name not in storm.gateway.missing
    assert any("unreachable" in text for text in storm.gateway.texts(far.name)[before:]), "what it saw while alone"
    assert storm.judge() == []


def test_a_node_whose_disk_was_lost_begins_anew_and_nothing_is_taken_for_known() -> None:
    storm = Storm(7)
    far = storm.world[4]
    storm.kill(far)
    storm.pass_time(5)
    old = storm.gateway.lives[far.name][0]
    storm.lose_disk(far)  # with its old boots the mesh takes it for a twin: it starts until it has passed them
    storm.pass_time(30)
    first, second = storm.gateway.lives[far.name]
    assert first[: len(old)] == old and second[0][1] == 1
    assert storm.judge() == []
    assert all(len(lives) == 1 for name, lives in storm.gateway.lives.items() if name != far.name)


def test_in_a_sparse_mesh_links_are_made_a_few_at_a_time_and_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_desk, "REACHING_MAX", 2)
    storm = Storm(9, nodes=14)
    storm.pass_time(40)
    assert storm.gateway.missing == {}
    assert all(storm.gateway.cursors[node.name].number for node in storm.world.nodes)
    links = storm.world.ask(storm.world[0], ListLinks())
    assert isinstance(links, LinksView) and {link.kind for link in links.items} == {"neighbour", "peer"}
    before = len(storm.gateway.texts("n00"))
    storm.pass_time(200)  # a link for calls alone idles out after a minute
    later = storm.gateway.texts("n00")[before:]
    assert not any("link lost" in text or "linked" in text for text in later), later
    assert storm.judge() == []


def test_the_links_of_the_mesh_come_before_those_for_journals(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(journal_desk, "LINKS_MAX", 9)
    storm = Storm(9, nodes=14)
    storm.pass_time(20)
    assert len(storm.world[0].core.hub.peers() if storm.world[0].core else ()) >= 9
    assert storm.gateway.missing and set(storm.gateway.missing.values()) == {
        "n00 has 9 links, and no more for journals"
    }
    assert not storm.gateway.faults


def spoilt(spoil: Callable[[Page, JournalCursor], Page]) -> Adapt:
    """A node whose journal is told wrongly."""

    def adapted(core: Core) -> Core:
        page = core.story.page

        def told(cursor: JournalCursor, limit: int, bytes_max: int = story.PAGE_BYTES_MAX) -> Page:
            return spoil(page(cursor, limit, bytes_max), cursor)

        core.story.page = told  # type: ignore[method-assign]
        return core

    return Adapt(core=adapted)


def without_one(page: Page, _: JournalCursor) -> Page:
    return msgspec.structs.replace(page, items=[item for item in page.items if item.number != 3])


def anew_again(page: Page, cursor: JournalCursor) -> Page:
    return msgspec.structs.replace(page, anew=page.anew or cursor.number == 4)


def without_the_rest(page: Page, cursor: JournalCursor) -> Page:
    return msgspec.structs.replace(page, items=page.items if cursor.number < 4 else [])


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [(without_one, "n4: from 2 to 4, and 1 is kept"), (anew_again, "n4 began anew"), (without_the_rest, "n4 has ")],
)
def test_a_journal_told_wrongly_is_noticed(spoil: Callable[[Page, JournalCursor], Page], fault: str) -> None:
    storm = Storm(8, adapt=spoilt(spoil))
    storm.kill(storm.world[4])
    storm.pass_time(5)
    found = storm.judge()
    found += [f"{name} began anew" for name, lives in storm.gateway.lives.items() if len(lives) > 1]
    assert any(each.startswith(fault) for each in found), found
    assert all(each.startswith("n4") for each in found)
