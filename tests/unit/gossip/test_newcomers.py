"""Many who join one seed at once: each is told of all the others in a few pieces, and a starved seed is waited for."""

import pytest

from meshnode.gossip.letters import Push, Repair, Rows, decode
from meshnode.gossip.messages import Discovered, Publish
from meshnode.gossip.newcomers import CALM_US, FEW, WAIT_MAX_US, Newcomers
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.reasons import Bye
from meshnode.model.ids import NodeId
from tests.unit.gossip.world import LATENCY_US, Box, Key, World

SIZE = 30


def at(us: int) -> Instant:
    return Instant(SECOND + us, 0)


def node(number: int) -> NodeId:
    return NodeId(number.to_bytes(32))


class Pieces(World):
    """Counts what boxes write about rows: letters to one peer in one moment are one piece; and how often they compare
    more than roots."""

    def __init__(self, seed: int) -> None:
        super().__init__(seed)
        self.pieces: dict[tuple[str, NodeId, int], int] = {}
        self.compared = 0

    def _send(self, box: Box, peer: NodeId, body: bytes) -> None:
        letter = decode(body)
        self.compared += isinstance(letter, Repair)
        if isinstance(letter, Push | Rows):
            piece = box.name, peer, self.now_us
            self.pieces[piece] = self.pieces.get(piece, 0) + 1
        super()._send(box, peer, body)


class Starved(World):
    """What is sent to the first box is read so much later."""

    def __init__(self, seed: int, late_us: int) -> None:
        super().__init__(seed)
        self.late_us = late_us

    def _send(self, box: Box, peer: NodeId, body: bytes) -> None:
        if peer != self.boxes["n0"].id:
            super()._send(box, peer, body)
            return
        send = super()._send
        self.later(self.late_us, lambda: send(box, peer, body))


def join(world: World, count: int, every_s: float, first: int = 1) -> list[Box]:
    """Boxes that hear of the first one, one after the other."""
    boxes: list[Box] = []
    for number in range(first, first + count):
        boxes.append(world.box(f"n{number}", seeds=["n0"]))
        world.run_for(every_s)
    return boxes


def test_the_first_few_are_told_at_once_and_a_crowd_when_no_more_come() -> None:
    newcomers = Newcomers()
    for number in range(FEW):
        newcomers.add(b"row", node(number), at(number * MS))
        assert len(newcomers.due(at(number * MS))[0]) == 1
    newcomers.add(b"row", node(FEW), at(10 * MS))
    newcomers.add(b"row", node(FEW + 1), at(50 * MS))
    newcomers.owe(node(FEW), at(60 * MS))
    assert newcomers.due(at(60 * MS + CALM_US - 1)) == ([], [])
    told, given = newcomers.due(at(60 * MS + CALM_US))
    assert ([who for _, who in told], given) == ([node(FEW), node(FEW + 1)], [node(FEW)])
    assert newcomers.deadline() is None and newcomers.due(at(SECOND)) == ([], [])
    newcomers.add(b"row", node(9), at(3 * SECOND))
    assert len(newcomers.due(at(3 * SECOND))[0]) == 1, "a second of quiet ends a crowd"


def test_a_crowd_without_end_is_told_every_second() -> None:
    newcomers, told_us = Newcomers(), list[int]()
    for us in range(0, 5 * SECOND, CALM_US // 2):
        newcomers.add(b"row", node(us), at(us))
        if newcomers.due(at(us))[0]:
            told_us.append(us)
    waits = [later - sooner for sooner, later in zip(told_us[FEW:], told_us[FEW + 1 :], strict=False)]
    assert waits and max(waits) <= WAIT_MAX_US + CALM_US


def test_a_seed_writes_a_few_pieces_about_rows_to_each_of_a_crowd() -> None:
    world = Pieces(seed=3)
    world.box("n0")
    boxes = join(world, SIZE, 0.004)
    world.run_until(world.all_ready, 2.0)
    written = [sum(1 for name, peer, _ in world.pieces if name == "n0" and peer == box.id) for box in boxes]
    assert max(written) <= FEW + 4, "it would be one for each other one that joined later"
    letters = sum(count for (name, _, _), count in world.pieces.items() if name == "n0")
    assert letters <= 1.2 * SIZE * SIZE, "each row goes to each of them about once"


def test_who_was_told_of_all_others_at_once_has_nothing_left_to_compare() -> None:
    world = Pieces(seed=3)
    world.box("n0")
    join(world, SIZE, 0.0)
    world.run_until(world.all_ready, 2.0)
    world.run_for(1.0)
    assert world.compared == 0


@pytest.mark.parametrize("away_s", [0.0, 0.3])
def test_who_loses_its_link_before_it_is_told_of_a_crowd_is_told_when_it_is_back(away_s: float) -> None:
    world = World(seed=3)
    seed = world.box("n0")
    boxes = join(world, SIZE, 0.004)
    unlucky = boxes[-3]
    assert len(unlucky.gossip.members()) == 2 and unlucky.id in seed.links, "it waits to be told"
    world._hang_up(seed, unlucky.id, Bye.IDLE)
    world.run_for(away_s)
    world.tell(unlucky, Discovered(*seed.address))
    assert world.run_until(world.all_ready, 12.0) < 8.0


@pytest.mark.parametrize("count", [12, 40, 70])
@pytest.mark.parametrize("smaller", [True, False])
def test_who_comes_alone_is_given_all_rows_once_and_without_a_comparison_and_facts_at_once(
    *, smaller: bool, count: int
) -> None:
    world = Pieces(seed=3)
    seed = world.box("n0")
    world.tell(seed, Publish("skill/words", b"new"))
    join(world, count, 0.02)
    world.run_for(20.0)
    name = next(name for name in map(str, range(100)) if (Key(name).node < seed.id) is smaller)
    world.pieces.clear()
    late = world.box(name, seeds=["n0"])
    assert world.run_until(lambda: len(late.gossip.members()) == count + 2, 2.0) <= 0.04
    assert world.run_until(lambda: "skill/words" in late.gossip.soft(seed.id), 2.0) <= 0.04
    world.run_for(0.5)
    assert sum(count for (who, to, _), count in world.pieces.items() if who == "n0" and to == late.id) <= 3


def test_while_the_seed_answers_late_nobody_dials_others() -> None:
    world = Starved(seed=3, late_us=SECOND)
    world.box("n0")
    early = join(world, 15, 0.004)
    world.run_for(5.0)
    late = join(world, 15, 0.004, first=16)
    world.run_for(3.5)
    boxes = [*early, *late]
    assert all(len(box.gossip.members()) == 31 for box in boxes)
    assert all(len(box.dials) == 1 for box in boxes), "links drawn from a half of the mesh are drawn twice"
    world.late_us = LATENCY_US
    world.run_for(20.0)
    assert world.all_ready() and all(4 <= len(box.links) <= 9 for box in world.boxes.values())
