"""What agents write on three nodes, as one log."""

import json

import pytest

from meshnode.client.logs import read_logs
from meshnode.model.views import LogLine
from tests.real.daemon_kit import Daemon, cli, typed, until
from tests.real.mesh_kit import ROGUE, call, run, spread

pytestmark = pytest.mark.real

MIB = 1024 * 1024


def lines(daemon: Daemon, name: str) -> list[LogLine]:
    """From the first one on."""
    return [line for line in read_logs(daemon.ask, name, after=1) if isinstance(line, LogLine)]


def test_the_lines_of_all_replicas_are_merged_in_the_order_they_were_written(mesh: list[Daemon]) -> None:
    run(mesh[0], "writers", "--replicas", "3", known=mesh)
    for node in mesh:
        spread(node, "writers", 3)
    written: list[tuple[str, str]] = []
    for number in range(4):
        for slot in range(3):
            text = f"round {number} of"
            call(mesh[0], "writers.write", {"lines": 1, "text": text}, to=f"agent/writers/{slot}")
            written.append((f"writers/{slot}", f"{text} 0"))
            # A line has its time when its node has read it, which may be after the answer.
            until(lambda: len(lines(mesh[0], "writers")) == len(written), "the line is read")
    for node in mesh:
        until(lambda n=node: len(lines(n, "writers")) == 12, "all lines are there")
        found = lines(node, "writers")
        assert [(line.unit, line.text) for line in found] == written
        assert {line.node for line in found} == {"alpha", "beta", "gamma"}
        assert [line.hlc for line in found] == sorted(line.hlc for line in found)
    shown = cli(mesh[1].directory, "logs", "writers").out
    assert shown.count("round 3 of 0") == 3, shown


def test_a_flood_on_one_node_leaves_a_gap_line_and_the_lines_of_the_others(mesh: list[Daemon]) -> None:
    run(mesh[0], "flooders", "--replicas", "3", file=ROGUE, known=mesh)
    for node in mesh:
        spread(node, "flooders", 3)
    call(mesh[0], "flooders.flood", {"bytes_": 4 * MIB}, to="agent/flooders/1")
    for slot in (0, 2):
        call(mesh[0], "flooders.flood", {"bytes_": 1000}, to=f"agent/flooders/{slot}")

    def gaps() -> list[LogLine]:
        return [line for line in lines(mesh[0], "flooders") if line.stream == "gap"]

    until(gaps, "the gap is told")
    assert {gap.unit for gap in gaps()} == {"flooders/1"}
    assert "bytes" in gaps()[0].text
    whole = {line.unit for line in lines(mesh[0], "flooders") if line.stream == "out"}
    assert whole == {"flooders/0", "flooders/1", "flooders/2"}


def test_following_shows_a_line_of_another_node_soon_after_it_was_written(mesh: list[Daemon]) -> None:
    run(mesh[0], "followed", "--on", "gamma", known=mesh)
    with typed(mesh[1].directory, "logs", "-f", "followed", "-o", "jsonl") as following:
        assert following.stdout is not None
        call(mesh[0], "followed.write", {"lines": 1, "text": "soon"})
        line = json.loads(following.stdout.readline())
    assert (line["node"], line["unit"], line["text"]) == ("gamma", "followed/0", "soon 0")
