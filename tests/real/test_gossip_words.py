"""What a person reads of a mesh of two regions: whole, with one region cut off, healed, and with a node killed."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.real.daemon_kit import ROOT, Cuttable, Daemon, cli, until

pytestmark = pytest.mark.real

DIVIDED = (str(ROOT / "tests" / "real" / "divided_daemon.py"),)
EAST, WEST = ("ann", "bob", "cid"), ("xia", "yan")


class Mesh(Cuttable):
    """Three nodes in the east, two in the west, for whom that is a large mesh."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory, *EAST, *WEST)
        self.nodes: dict[str, Daemon] = {}

    def begin(self) -> None:
        """All nodes run, and each sees all."""
        self.ann = self.start("ann", "--region", "east", program=DIVIDED)
        self.nodes["ann"] = self.ann
        for name in (*EAST[1:], *WEST):
            token = self.ann.ask.invite(name, region="east" if name in EAST else "west").token
            assert cli(self.directory / name, "join", token).code == 0
            self.nodes[name] = self.launch(name, program=DIVIDED)
        for node in self.nodes.values():
            self.served(node)
        until(lambda: all(self.all_ready(node) for node in self.nodes.values()), "all see all", 40)

    def all_ready(self, node: Daemon) -> bool:
        views = node.ask.nodes()
        return len(views) == len(self.nodes) and all(view.state == "ready" for view in views)

    def read(self, *words: str, at: str = "ann", code: int = 0) -> str:
        """What a command prints, both streams."""
        ended = cli(self.nodes[at].directory, *words)
        assert ended.code == code, ended
        return ended.out + ended.err


@pytest.fixture(scope="module")
def mesh(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mesh]:
    mesh = Mesh(tmp_path_factory.mktemp("words"))
    with mesh:
        mesh.begin()
        yield mesh


def test_a_whole_mesh_tells_state_age_and_path(mesh: Mesh) -> None:
    table = mesh.read("ls")
    assert re.search(r"^yan +ready +linked +west .* direct [\d.]+ms +now", table, re.MULTILINE), table
    assert re.search(r"^yan +ready ", mesh.read("get", "nodes", "yan"), re.MULTILINE)
    assert re.match(r"1: yan  [\d.]+ms  direct  clock [+-]\d+ ms\n", mesh.read("ping", "yan"))
    story = mesh.read("why", "node/yan")
    assert story.startswith("node/yan: node yan: ready: linked (last heard 0"), story
    assert re.search(r"^  reached by a link of its own, [\d.]+ ms there and back$", story, re.MULTILINE), story
    assert mesh.read("why", "region/west").startswith("region/west: region west: 2 of 2 nodes reachable")


def test_what_another_region_offers_is_found_with_its_age_and_who_told_of_it(mesh: Mesh) -> None:
    ran = cli(mesh.nodes["yan"].directory, "run", str(ROOT / "examples" / "words.py"), "--on", "yan", "--wait", "15")
    assert ran.code == 0, ran.err
    line = re.compile(
        r"^1 +words\.count +words +yan +west +(\S+ms|-) +(now|\ds) +told by (xia|yan) \d\.\d s ago$", re.MULTILINE
    )
    until(lambda: line.search(cli(mesh.nodes["bob"].directory, "find", "words.count").out), "bob finds it", 20)


def test_a_lost_region_is_told_as_one_thing_and_its_return_as_another(mesh: Mesh) -> None:
    mesh.cut(*((east, west) for east in EAST for west in WEST))
    until(lambda: "region west unreachable" in cli(mesh.ann.directory, "ls").out, "ann has lost the west", 30)
    until(lambda: {view.state for view in mesh.ann.ask.nodes() if view.region == "west"} == {"unreachable"}, "for sure")
    table = mesh.read("ls")
    assert re.search(r"^region west unreachable since \d+s: 2 nodes \(-o wide names them\)$", table, re.MULTILINE), (
        table
    )
    assert not re.search("^(xia|yan)", table, re.MULTILINE)
    assert mesh.read("ls", "-o", "wide").count("region west unreachable: 2 nodes") == 2
    story = mesh.read("why", "node/yan")
    assert "node yan: unreachable: region west unreachable: 2 nodes (last heard" in story
    assert re.search(r"^  [123] of \d observers speak against it: silent \(.*ann", story, re.MULTILINE), story
    assert "its region west: unreachable: 2 nodes" in story and "not asked, out of reach now: xia, yan" in story
    assert "region west unreachable since" in mesh.read("status")
    failed = mesh.read("ping", "yan", "--deadline", "0.5", code=124)
    assert failed.startswith("yan is unreachable: region west unreachable: 2 nodes (heard "), failed
    found = mesh.read("find", "words.count", at="bob")
    assert "region west" in found and ("unreachable" in found or "reach" in found), found
    mesh.heal()
    until(lambda: mesh.all_ready(mesh.ann), "all are back", 40)
    back = [line for line in mesh.read("events").splitlines() if "region/west" in line]
    assert len(back) == 2 and "unreachable: 2 nodes" in back[0] and "reachable again: " in back[1], back


def test_a_killed_node_is_down_by_the_word_of_several(mesh: Mesh) -> None:
    mesh.nodes["bob"].kill()
    until(lambda: mesh.ann.ask.node("bob").state == "down", "bob is down", 20)
    story = mesh.read("why", "bob")
    assert "node bob: down: refuses a fresh dial, say " in story
    assert re.search(r"^  \d of \d observers speak against it: refuses a fresh dial \(", story, re.MULTILINE), story
    assert "bob is down: " in mesh.read("ping", "bob", "--deadline", "0.5", code=124)
    row = next(line for line in mesh.read("ls").splitlines() if line.startswith("bob"))
    assert re.search(r"down +refuses a fresh dial, say \d of \d observers +\d of \d +east", row), row
