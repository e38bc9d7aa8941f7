"""Logs of several nodes as one: in order, each line once, and what is missing is said once."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.client.client import Client
from meshnode.client.logs import HELD_MAX, PAGE_LINES, Merge, Missing, follow_logs, read_logs
from meshnode.model.errors import LocalError, Offline, TimedOut
from meshnode.model.views import LogLine, LogsView, NodeView, StatusView
from tests.unit.api.asker import ALPHA, BETA, STATUS


def line(hlc: int, node: str = "alpha", text: str = "") -> LogLine:
    return LogLine(hlc=hlc, at_ms=hlc, node=node, unit="words/0", stream="out", text=text or str(hlc))


class Mesh(Client):
    """A client whose nodes are lists of lines."""

    def __init__(self, written: dict[str, list[LogLine]]) -> None:
        super().__init__("/nowhere")
        self.written = written
        self.states = dict.fromkeys(written, "ready")
        self.failing: dict[str, LocalError] = {}
        self.missing: dict[str, list[str]] = {}
        self.asked: list[str] = []
        self.gone = False

    def status(self) -> StatusView:
        if self.gone:
            raise Offline("no daemon runs")
        return STATUS

    def nodes(self) -> list[NodeView]:
        return [self.node(name) for name in self.written]

    def node(self, name: str) -> NodeView:
        from msgspec.structs import replace

        return replace(ALPHA if name == "alpha" else BETA, name=name, state=self.states[name], self_node=False)

    def logs(self, agent: str = "", node: str = "", after: int = 0, limit: int = 500) -> LogsView:
        self.asked.append(node)
        if node in self.failing:
            raise self.failing[node]
        later = [one for one in self.written[node] if one.hlc > after]
        shown = later[:limit] if after else later[-limit:]
        return LogsView(items=shown, more=len(later) > limit, missing=self.missing.get(node, []))


def follow(mesh: Mesh, rounds: list[dict[str, list[LogLine]]]) -> list[LogLine | Missing]:
    """What a follower is told while, after each round, more is written."""
    told: list[LogLine | Missing] = []
    left = iter(rounds)

    def sleep(_: float) -> None:
        try:
            for node, lines in next(left).items():
                mesh.written[node].extend(lines)
        except StopIteration:
            raise KeyboardInterrupt from None

    try:
        for one in follow_logs(mesh, sleep=sleep):
            told.append(one)  # noqa: PERF402
    except KeyboardInterrupt:
        pass
    return told


def test_what_is_there_comes_in_the_order_of_its_stamps() -> None:
    mesh = Mesh({"alpha": [line(1), line(4)], "beta": [line(2, "beta"), line(3, "beta")]})
    assert [one.hlc for one in read_logs(mesh) if isinstance(one, LogLine)] == [1, 2, 3, 4]


def test_one_node_alone_may_be_asked() -> None:
    mesh = Mesh({"alpha": [line(1)], "beta": [line(2, "beta")]})
    assert list(read_logs(mesh, node="beta")) == [line(2, "beta")]
    assert mesh.asked == ["beta"]


def test_a_line_that_comes_late_still_stands_before_a_later_one() -> None:
    mesh = Mesh({"alpha": [], "beta": []})
    told = follow(mesh, [{"alpha": [line(20)]}, {"beta": [line(10, "beta")]}, {}, {}])
    assert [one.hlc for one in told if isinstance(one, LogLine)] == [10, 20]


def test_nothing_is_held_back_where_one_node_is_followed() -> None:
    mesh = Mesh({"alpha": []})
    assert follow(mesh, [{"alpha": [line(1)]}]) == [line(1)]


def test_a_node_out_of_reach_is_told_once_and_not_asked() -> None:
    mesh = Mesh({"alpha": [line(1)], "beta": []})
    mesh.states["beta"] = "unreachable"
    told = follow(mesh, [{}, {}, {}])
    assert told == [Missing("beta", "unreachable: silent"), line(1)]
    assert set(mesh.asked) == {"alpha"}


def test_a_node_that_does_not_answer_is_told_once_and_asked_again() -> None:
    mesh = Mesh({"alpha": [line(1)], "beta": []})
    mesh.failing["beta"] = TimedOut("beta: no answer in 3 s")
    told = follow(mesh, [{}, {}])
    assert [one for one in told if isinstance(one, Missing)] == [Missing("beta", "beta: no answer in 3 s")]
    assert mesh.asked.count("beta") == 3


def test_a_node_that_says_what_it_could_not_read_is_told() -> None:
    mesh = Mesh({"alpha": [line(1)]})
    mesh.missing["alpha"] = ["words/0: its log is gone"]
    assert list(read_logs(mesh)) == [Missing("alpha", "words/0: its log is gone"), line(1)]


def test_a_node_that_left_in_order_is_not_missed() -> None:
    mesh = Mesh({"alpha": [line(1)], "beta": []})
    mesh.states["beta"] = "left"
    assert list(read_logs(mesh)) == [line(1)]


def test_the_own_node_going_away_ends_it() -> None:
    mesh = Mesh({"alpha": [line(1)]})
    mesh.failing["alpha"], mesh.gone = Offline("no daemon runs"), True
    with pytest.raises(Offline, match="no daemon runs"):
        list(follow_logs(mesh))


def test_many_lines_come_page_by_page_each_once() -> None:
    many = [line(n) for n in range(1, 3 * PAGE_LINES)]
    mesh = Mesh({"alpha": list(many)})
    assert list(read_logs(mesh, after=1)) == many[1:]
    assert [one.hlc for one in list(read_logs(mesh))[:1] if isinstance(one, LogLine)] == [many[-PAGE_LINES].hlc]


def test_what_is_held_is_bounded() -> None:
    merge = Merge()
    shown = merge.round([line(n) for n in range(1, HELD_MAX + 11)], alone=False)
    assert [one.hlc for one in shown] == list(range(1, 11))


@given(st.lists(st.lists(st.tuples(st.sampled_from("ab"), st.integers(1, 50)), max_size=6), max_size=8))
def test_every_line_is_shown_once_whatever_the_order(rounds: list[list[tuple[str, int]]]) -> None:
    merge = Merge()
    shown: list[LogLine] = []
    for given_now in rounds:
        now = merge.round([line(hlc, node) for node, hlc in given_now], alone=False)
        assert now == sorted(now, key=lambda one: (one.hlc, one.node))
        shown += now
    shown += merge.flush()
    wanted = [line(hlc, node) for given_now in rounds for node, hlc in given_now]
    assert sorted(map(repr, shown)) == sorted(map(repr, wanted))
