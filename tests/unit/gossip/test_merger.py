"""Two components that have never heard of each other, each of hundreds of nodes: no node is told everything twice."""

from collections import Counter

import pytest

from meshnode.gossip.letters import Push, RowRumour, Rows, decode, decode_rumour
from meshnode.gossip.messages import Discovered
from meshnode.kernel.effects import Send
from tests.unit.gossip.test_archive import record_of
from tests.unit.gossip.test_intake import row_of
from tests.unit.gossip.world import Box, Key, World

NODES, ROWS = 6, 250


class Component:
    """A few nodes that run, and the rows of many more that they know."""

    def __init__(self, world: World, tag: str) -> None:
        self.boxes = [world.box(f"{tag}{n}", seeds=[f"{tag}0"] if n else []) for n in range(NODES)]
        keys = [Key(f"row-{tag}{n}") for n in range(ROWS)]
        records = [record_of(row_of(key, f"r{tag}{at}"), key) for at, key in enumerate(keys)]
        world.run_for(10.0)
        for box in self.boxes:
            world.kill(box)
        world.run_for(1.0)
        for box in self.boxes:
            box.journal |= {(record.kind, record.key): record for record in records}
            world.boot(box, [f"{tag}0"])
        world.run_for(20.0)


def merged(monkeypatch: pytest.MonkeyPatch) -> tuple[Counter[str], float]:
    """Copies of rows by receiver, and the seconds until all know all."""
    world, copies = World(1), Counter[str]()
    one, two = Component(world, "a"), Component(world, "b")
    everybody = [*one.boxes, *two.boxes]
    names = {box.id: box.name for box in everybody}
    perform = World._perform

    def counted(self: World, box: Box, effects: list[object]) -> None:
        for effect in effects:
            if isinstance(effect, Send):
                copies[names[effect.peer]] += rows_in(effect.body)
        perform(self, box, effects)  # pyright: ignore[reportArgumentType]

    monkeypatch.setattr(World, "_perform", counted)
    world.tell(one.boxes[1], Discovered("host-b2", 7000))
    total = 2 * (NODES + ROWS)
    took_s = world.run_until(lambda: all(len(box.gossip.members()) == total for box in everybody), 20.0)
    return copies, took_s


def rows_in(body: bytes) -> int:
    letter = decode(body)
    if isinstance(letter, Push):
        return isinstance(decode_rumour(letter.rumour), RowRumour)
    return len(letter.rows) if isinstance(letter, Rows) else 0


def test_two_components_are_one_soon_and_each_node_is_told_each_row_about_once(monkeypatch: pytest.MonkeyPatch) -> None:
    copies, took_s = merged(monkeypatch)
    lacking = NODES + ROWS
    assert took_s <= 5.0
    assert sum(copies.values()) <= 1.3 * 2 * NODES * lacking
    assert max(copies.values()) <= 2.5 * lacking


def test_where_every_row_is_announced_as_it_comes_they_cost_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """Planted fault: a bulk is passed on like news, row by row, and compared with everybody meanwhile."""
    monkeypatch.setattr("meshnode.gossip.intake.Intake.small", property(lambda _: True))
    monkeypatch.setattr("meshnode.gossip.intake.Intake.busy", property(lambda _: False))
    monkeypatch.setattr("meshnode.gossip.intake.Intake.puts_off", lambda *_: False)
    copies, _ = merged(monkeypatch)
    assert sum(copies.values()) > 1.3 * 2 * NODES * (NODES + ROWS)
