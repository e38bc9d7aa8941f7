"""The grid in memory is what it would be if it were made anew of all rows."""

import random

import msgspec

from cloud_gateway.model.queries import GridCell
from cloud_gateway.model.rows import NodeRow
from cloud_gateway.store.columns import LAYOUTS
from cloud_gateway.store.grid import Grid

LAYOUT = LAYOUTS["nodes"]


def anew(nodes: dict[str, NodeRow], troubled: dict[str, int]) -> dict[str, list[GridCell]]:
    told: dict[str, list[GridCell]] = {}
    for node in sorted(nodes.values(), key=lambda node: (node.region, node.name)):
        cpu = -1 if node.cpu_percent is None else round(node.cpu_percent)
        told.setdefault(node.region, []).append(GridCell(node.name, node.state, cpu, troubled.get(node.name, 0)))
    return told


def test_a_grid_kept_by_changes_is_the_grid_made_anew() -> None:
    luck, grid = random.Random(3), Grid()
    nodes: dict[str, NodeRow] = {}
    troubled: dict[str, int] = {}
    for _ in range(2_000):
        node_id = str(luck.randrange(12))
        old = nodes.pop(node_id, None)
        new = None
        if luck.random() < 0.8:
            new = NodeRow(node_id=node_id, name=f"n{node_id}", region=luck.choice("ab"), state=luck.choice("xy"),
                          cpu_percent=luck.choice((None, 3.2, 70.0)))  # fmt: skip
            nodes[node_id] = new
        grid.change(LAYOUT.values(old) if old else None, LAYOUT.values(new) if new else None)
        if luck.random() < 0.3:
            troubled[f"n{luck.randrange(12)}"] = luck.randrange(3)
            grid.troubles_changed()
        assert grid.told(troubled) == anew(nodes, troubled)


def test_what_a_grid_told_stays_as_it_is() -> None:
    grid, row = Grid(), NodeRow(node_id="1", name="a", region="r")
    grid.change(None, LAYOUT.values(row))
    first = grid.told({})
    assert grid.told({}) is first
    grid.change(LAYOUT.values(row), LAYOUT.values(msgspec.structs.replace(row, state="down")))
    assert first == {"r": [GridCell("a", "ready", -1, 0)]}
    assert grid.told({}) == {"r": [GridCell("a", "down", -1, 0)]}
