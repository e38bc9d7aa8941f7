"""A region that was cut off is told as one thing; whoever was told lost is told back, and nobody else is."""

import pytest

from meshnode.gossip.messages import MemberChanged, MemberState
from meshnode.gossip.verdict import cut_region, region_cut
from meshnode.kernel.effects import Note
from meshnode.model.ids import NodeId
from meshnode.node import cuts
from meshnode.node.cuts import Cuts

CUT = "region west unreachable: 3 nodes"
SUSPECT, UNREACHABLE, DOWN = MemberState.SUSPECT, MemberState.UNREACHABLE, MemberState.DOWN
HOMES = {"xia": "west", "yan": "west", "zoe": "west", "ann": "east"}


def node(name: str) -> NodeId:
    return NodeId(name.encode().ljust(32))


class Teller:
    """What is told of changes, as lines."""

    def __init__(self) -> None:
        self._cuts = Cuts(lambda node: HOMES[node.decode().strip()])

    def told(self, name: str, state: MemberState, reason: str, *, quiet: bool = False) -> list[str]:
        notes: list[Note] = self._cuts.told(MemberChanged(node(name), name, state, reason, quiet))
        return [f"{note.subject} {note.text}" for note in notes]

    def lost(self, name: str, reason: str = CUT, *, quiet: bool = False) -> list[str]:
        return self.told(name, UNREACHABLE, reason, quiet=quiet)

    def back(self, name: str, *, quiet: bool = False) -> list[str]:
        return self.told(name, MemberState.READY, "linked", quiet=quiet)


def test_nodes_come_and_go_one_by_one() -> None:
    teller = Teller()
    assert teller.back("ann") == ["node/ann ready: linked"], "whoever was never lost is news as well"
    assert teller.told("ann", SUSPECT, "silent") == ["node/ann suspect: silent"]
    assert teller.lost("ann", "silent") == ["node/ann unreachable: silent"]
    assert teller.back("ann") == ["node/ann ready: linked"]


def test_a_cut_region_is_one_piece_of_news_and_its_return_another() -> None:
    teller = Teller()
    assert teller.lost("xia") == ["region/west unreachable: 3 nodes"]
    assert teller.lost("yan") == teller.lost("zoe") == []
    assert teller.back("yan") == ["region/west reachable again: yan is back"]
    assert teller.back("xia") == teller.back("zoe") == []
    assert teller.lost("zoe") == ["region/west unreachable: 3 nodes"], "a second cut is news again"


def test_whoever_was_told_lost_before_the_region_was_is_told_back() -> None:
    teller = Teller()
    assert teller.told("xia", SUSPECT, "silent") == ["node/xia suspect: silent"]
    assert teller.lost("yan") == ["region/west unreachable: 3 nodes"]
    assert teller.lost("xia") == []
    assert teller.back("xia") == ["region/west reachable again: xia is back", "node/xia ready: linked"]
    assert teller.back("yan") == []


def test_proof_about_one_node_of_a_lost_region_is_told() -> None:
    teller = Teller()
    teller.lost("xia")
    assert teller.told("xia", DOWN, "refuses a fresh dial") == ["node/xia down: refuses a fresh dial"]
    assert teller.back("xia") == ["region/west reachable again: xia is back", "node/xia ready: linked"]


def test_a_shaky_node_tells_nothing_of_itself_but_ends_the_cut_of_its_region() -> None:
    teller = Teller()
    assert teller.told("ann", DOWN, "silent", quiet=True) == teller.back("ann", quiet=True) == []
    assert teller.lost("xia", quiet=True) == []
    assert teller.lost("yan") == ["region/west unreachable: 3 nodes"]
    assert teller.back("xia", quiet=True) == ["region/west reachable again: xia is back"]


def test_beyond_the_limit_a_return_is_told_rather_than_forgotten(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cuts, "HELD_MAX", 1)
    teller = Teller()
    teller.lost("xia")
    teller.lost("yan")
    teller.back("xia")
    assert teller.back("yan") == ["node/yan ready: linked"]


@pytest.mark.parametrize(
    ("reason", "region"),
    [(CUT, "west"), (region_cut("west", 3), "west"), ("region a b unreachable: 2 nodes", "a b"), ("silent", ""),
     ("no way to it from here", ""), ("silent; region west", ""), ("", "")],
)  # fmt: skip
def test_the_region_is_read_from_the_reason(reason: str, region: str) -> None:
    assert cut_region(reason) == region
