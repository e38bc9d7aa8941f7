"""Whole lives of a unit on three nodes: cuts, kills, full disks, two owners, retries.

In the end every acknowledged call counts exactly once and every acknowledged value is there.
"""

from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.kernel.instant import MS, SECOND
from tests.unit.checkpoints.nodes import UNIT, Node, Nodes, add, put


class World:
    """A scheduler of the simplest kind: who is alone with a unit opens it, the lower of two linked epochs leaves."""

    def __init__(self, seed: int, hooks: bool) -> None:
        self.rng = Random(seed)
        self.nodes = Nodes("a", "b", "c", fold_entries=9)
        self.hooks = ["*"] if hooks else []
        self.claims: dict[str, int] = {}  # node -> counter, while it runs the unit
        self.counters: dict[str, int] = {}  # highest counter a node has claimed, as its journal knows
        self.calls: dict[str, tuple[Node, bytes]] = {}
        self.acked: dict[str, None] = {}
        self.leaving: dict[str, str] = {}  # to whom
        self.key_no = 0

    def alive(self) -> list[Node]:
        return [node for _, node in sorted(self.nodes.by_name.items()) if not node.dead]

    def step(self) -> None:
        draw = self.rng.random()
        alive = self.alive()
        if draw < 0.60:
            for _ in range(self.rng.randrange(1, 6)):
                self.call()
        elif draw < 0.68:
            self.nodes.cut(self.rng.choice(alive).name)
        elif draw < 0.80:
            self.nodes.heal()
        elif draw < 0.86 and len(alive) > 1:
            name = self.rng.choice(alive).name
            self.nodes.kill(name)
            self.claims.pop(name, None)
            self.leaving.pop(name, None)
        elif draw < 0.93:
            dead = [node.name for node in self.nodes.by_name.values() if node.dead]
            if dead:
                self.nodes.boot(self.rng.choice(sorted(dead)), linked=self.rng.random() < 0.6)
        else:
            node = self.rng.choice(alive)
            node.disk = self.rng.choice(["ok", "full", "slow"])
            if node.disk != "slow":
                node.go_on(node.disk)
        self.nodes.run(self.rng.choice([1, 3, 20, 100, 450]) * MS)
        self.tend()

    def call(self) -> None:
        owners = [node for node in self.alive() if node.name in self.claims and node.agents]
        if not owners:
            return
        node = self.rng.choice(owners)
        if self.rng.random() < 0.4 and self.calls:
            key = self.rng.choice(sorted(self.calls))  # a retry, wherever
        else:
            self.key_no += 1
            key = f"key-{self.key_no}"
        if node.machine.answered(UNIT, key) is not None:
            self.acked[key] = None
            return
        (agent,) = node.agents.values()
        if agent.values is None:
            return
        self.look(key)
        self.calls[key] = (node, agent.write(add("n"), put(f"of-{key}", 1), put("last", key), key=key))

    def look(self, key: str) -> None:
        if key in self.calls:
            node, call_id = self.calls[key]
            if node.kept(call_id) is not None:
                self.acked[key] = None

    def tend(self) -> None:
        for key in self.calls:
            self.look(key)
        for node in self.alive():
            self._tend(node)

    def _tend(self, node: Node) -> None:
        peers = [self.nodes.of(peer) for peer in node.up]
        linked = [peer for peer in peers if peer is not None]
        mine = self.claims.get(node.name)
        rivals = [peer for peer in linked if peer.name in self.claims]
        if mine is None and not rivals:
            known = [self.counters.get(each.name, 0) for each in [node, *linked]]
            counter = max([node.machine.counter(UNIT), *known]) + 1
            self.counters[node.name] = self.claims[node.name] = counter
            node.open(counter, run=False)
            self.nodes.run(250 * MS)
            if not node.dead and node.facts:
                agent = node.attach(self.hooks)
                agent.decide = lambda cell: max(cell.mine, cell.theirs)
        elif mine is not None:
            self._two(node, mine, rivals)

    def _two(self, node: Node, mine: int, rivals: list[Node]) -> None:
        higher = [peer for peer in rivals if (self.claims[peer.name], peer.node) > (mine, node.node)]
        if higher and self.leaving.get(node.name) != higher[0].name:
            self.leaving[node.name] = higher[0].name
            node.facts = [each for each in node.facts if type(each).__name__ != "HandedOver"]
            node.do(lambda: node.machine.hand_over(UNIT, higher[0].node, node.now))
        if node.name in self.leaving and node.handed():
            self.close(node)
        elif node.agents and self._broken(node):
            node.machine.detached(UNIT)
            node.facts = [each for each in node.facts if type(each).__name__ != "StateRefused"]
            agent = node.attach(self.hooks)
            agent.decide = lambda cell: max(cell.mine, cell.theirs)

    def _broken(self, node: Node) -> bool:
        """Its memory is ahead of what could be kept: it is started again."""
        return any(type(each).__name__ == "StateRefused" for each in node.facts)

    def close(self, node: Node) -> None:
        del self.claims[node.name], self.leaving[node.name]
        node.agents = {}
        node.do(lambda: node.machine.close(UNIT, node.now))
        node.facts = [each for each in node.facts if type(each).__name__ not in ("HandedOver", "StateRefused")]

    def end(self) -> Node:
        """Everybody is there again, and one owner is left."""
        for node in list(self.nodes.by_name.values()):
            if node.dead:
                self.nodes.boot(node.name)
            elif node.disk != "ok":
                node.go_on()
        self.nodes.heal()
        for _ in range(12):
            self.nodes.run(1 * SECOND)
            self.tend()
        owners = [node for node in self.alive() if node.name in self.claims]
        assert len(owners) == 1, [node.name for node in owners]
        return owners[0]


def live_a_life(seed: int, steps: int, *, hooks: bool) -> World:
    world = World(seed, hooks)
    world.tend()
    for _ in range(steps):
        world.step()
    owner = world.end()
    state = owner.machine._desk.units[UNIT].state
    answers = state.answers.by_key
    lost = [key for key in world.acked if key not in answers]
    assert not lost, f"acknowledged and lost: {lost}, seed={seed}"
    counted = int(state.value("n") or b"0")
    assert counted == len(answers), f"{len(answers)} keys were answered, {counted} were counted, seed={seed}"
    gone = [key for key in answers if state.value(f"of-{key}") is None]
    assert not gone, f"values of answered calls that are gone: {gone}, seed={seed}"
    for node in world.alive():
        if node is not owner and node.machine.version(UNIT) == owner.machine.version(UNIT):
            assert node.machine.values(UNIT) == owner.machine.values(UNIT), f"a copy differs, seed={seed}"
    return world


@pytest.mark.parametrize("seed", range(40))
def test_every_acknowledged_call_counts_exactly_once(seed: int) -> None:
    live_a_life(seed, 60, hooks=seed % 2 == 0)


def test_the_lives_are_eventful() -> None:
    worlds = [live_a_life(seed, 60, hooks=False) for seed in range(100, 104)]
    assert sum(len(world.acked) for world in worlds) > 100
    merged = [f for w in worlds for n in w.alive() for f in n.facts if type(f).__name__ == "StateMerged"]
    assert merged


@given(st.integers(0, 2**32))
@settings(max_examples=15, deadline=None)
def test_also_in_lives_nobody_chose(seed: int) -> None:
    live_a_life(seed, 40, hooks=bool(seed % 2))
