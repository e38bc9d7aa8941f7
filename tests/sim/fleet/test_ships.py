"""Scenarios of thousands that share one warmed mesh: each plays in a copy of it, and what it finds is what it found
alone."""

import json
from pathlib import Path

from bench.gossip import ships
from meshnode.sim.fleet import figures

NODES, REGIONS = 48, 4


def test_a_scenario_in_a_copy_of_a_warmed_mesh_plays_as_it_does_alone() -> None:
    alone = figures.killed(ships.SEED, NODES, REGIONS, figures.MOST), figures.urgent(ships.SEED, NODES, REGIONS)
    rows = list(ships.played([ships.URGENT, ships.HALF, ships.MOST], NODES, REGIONS, {}))
    assert [row.id for row in rows] == ["sim-10k", "sim-10k-copies", "sim-half-killed", "sim-most-killed"]
    most = next(row for row in rows if row.id == "sim-most-killed")
    assert f"(last {alone[0].later_us / 1000:.0f} ms)" in most.why
    assert most.n == alone[0].survivors and most.ok, most
    assert rows[0].value == round(alone[1].p99_us / 1000, 3)


def test_a_row_is_kept_in_the_place_of_the_one_of_its_figure_and_size(tmp_path: Path) -> None:
    path = tmp_path / "ships.json"
    words = ["--nodes", "16", "--regions", "2", "--out", str(path), "--only", "half-killed"]
    assert [ships.main(words), ships.main(words)] == [0, 0]
    assert ships.main([*words[:1], "12", *words[2:]]) == 0
    kept = json.loads(path.read_text())
    assert [(line["id"], line["nodes"]) for line in kept] == [("sim-half-killed", 16), ("sim-half-killed", 12)]
    assert "s of CPU" in kept[0]["why"]
