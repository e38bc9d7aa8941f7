"""``top``: what stands on the screen, and what keys do to it."""

from collections.abc import Iterator

import pytest

from meshnode.cli.top_model import Glance, Top
from meshnode.cli.top_screen import screen
from meshnode.client.events import Told
from meshnode.model.errors import Offline
from meshnode.model.views import AgentView, EventView, NodeView, StatusView


def _status(**fields: object) -> StatusView:
    known: dict[str, object] = {
        "name": "alpha", "mesh": "home", "region": "hall", "version": "1", "uptime_s": 61.0, "boot": 1, "listen": "",
        "peers_connected": 1, "nodes_known": 2, "nodes_reachable": 1, "documents": 0, "documents_root": "",
        "directory_root": "", "agents_running": 1, "agents_total": 2, "clock": "", "journal_bytes": 0, "counters": {},
        "handle_max_ms": 0.0, "problems": [], "hardware": {}, "load": {},
    }  # fmt: skip
    return StatusView(**{**known, **fields})  # pyright: ignore[reportArgumentType]


def _node(name: str, state: str = "ready", cpu: int = 10) -> NodeView:
    return NodeView(
        name=name, node_id=name, state=state, region="hall", roles=[], boot=1, incarnation=0, path="direct", age_s=0.2,
        rtt_ms=0.4, reason="", endpoints=[], hardware={}, load={"cpu_percent": cpu}, agents=1,
    )  # fmt: skip


def _agent(name: str, state: str = "running") -> AgentView:
    return AgentView(
        name=name, instance=f"{name}/0", node="alpha", state=state, reason="", pid=1, restarts=0, skills=[], age_s=0.0
    )


class Scripted:
    """Answers of a node, one round after the other; an error stands for a node that went away."""

    def __init__(self, *rounds: Glance | Offline) -> None:
        self._rounds = list(rounds)
        self.told: list[Told] = []

    def _now(self) -> Glance:
        now = self._rounds[0]
        if isinstance(now, Offline):
            raise now
        return now

    def next(self) -> None:
        self._rounds.pop(0)

    def status(self) -> StatusView:
        return self._now().status

    def nodes(self) -> list[NodeView]:
        return list(self._now().nodes)

    def agents(self) -> list[AgentView]:
        return list(self._now().agents)

    def events(self, after: int = 0, *, follow: bool = True) -> Iterator[Told]:
        assert not follow
        return iter([told for told in self.told if told.number > after])


NODES = [_node("alpha"), _node("beta", "down"), _node("gamma", cpu=90)]
GLANCE = Glance(_status(problems=["beta down: refuses a dial"]), NODES, [_agent("words"), _agent("tally", "backoff")])


def _top(*rounds: Glance | Offline) -> tuple[Top, Scripted, list[float]]:
    node, clock = Scripted(*rounds), [0.0]
    return Top(node, lambda: clock[0]), node, clock


def _text(top: Top, width: int = 120, height: int = 30) -> str:
    return "\n".join(text for text, _ in screen(top, width, height))


@pytest.mark.parametrize(("width", "height"), [(40, 10), (80, 24), (200, 60), (20, 5)])
@pytest.mark.parametrize("panel", ["nodes", "agents", "events"])
def test_a_screen_has_its_lines_and_no_line_is_wider(width: int, height: int, panel: str) -> None:
    top, _, _ = _top(GLANCE)
    top.refresh()
    top.panel = panel
    lines = screen(top, width, height)
    assert len(lines) == height
    assert max(len(text) for text, _ in lines) <= width


def test_what_is_wrong_stands_first() -> None:
    top, _, _ = _top(GLANCE)
    top.refresh()
    text = _text(top)
    assert "! beta down: refuses a dial" in text
    assert [node.name for node in top.shown_nodes()] == ["beta", "gamma", "alpha"]
    assert ("down" in _row(top, "beta")[0], _row(top, "beta")[1]) == (True, "here")
    top.move(1)
    assert _row(top, "beta")[1] == "bad"
    top.turn(1)
    assert _row(top, "tally/0")[1] == "here"
    assert [agent.name for agent in top.shown_agents()] == ["tally", "words"]


def _row(top: Top, word: str) -> tuple[str, str]:
    return next(line for line in screen(top, 120, 30) if line[0].startswith(word))


def test_calls_are_counted_over_the_last_seconds_and_a_new_daemon_starts_anew() -> None:
    counts = [
        {"calls.calls-ok": 10, "calls.calls-again": 99},
        {"calls.calls-ok": 30, "calls.calls-timeout": 4, "calls.calls-again": 999},
        {"calls.calls-ok": 1},
    ]
    top, node, clock = _top(*(Glance(_status(counters=one), NODES, []) for one in counts))
    top.refresh()
    node.next()
    clock[0] = 2.0
    top.refresh()
    assert (top.calls().ok, top.calls().failed, top.calls().total) == (10.0, 2.0, 34)
    node.next()
    clock[0] = 3.0
    top.refresh()
    assert (top.calls().ok, top.calls().total) == (0.0, 1)


def test_a_node_that_goes_away_leaves_its_last_rows_with_their_age() -> None:
    top, node, clock = _top(GLANCE, Offline("no daemon runs there"))
    top.refresh()
    node.next()
    clock[0] = 75.0
    top.refresh()
    assert "! as of 1m15s ago: no daemon runs there" in _text(top)
    assert "gamma" in _text(top)


def test_a_filter_narrows_every_panel_and_the_cursor_stays_on_a_row() -> None:
    top, _, _ = _top(GLANCE)
    top.refresh()
    top.move(99)
    assert top.subject() == "node/alpha"
    top.filter = "GAM"
    assert [node.name for node in top.shown_nodes()] == ["gamma"]
    assert top.subject() == "node/gamma"
    top.filter = "nobody"
    assert top.subject() == ""
    assert "no node fits the filter" in _text(top)


def test_events_come_newest_first_and_each_once() -> None:
    top, node, _ = _top(GLANCE)
    node.told = [Told(n, EventView(at_ms=n, age_s=0.0, subject="agent/words", text=f"event {n}")) for n in (1, 2)]
    top.refresh()
    top.refresh()
    top.turn(-1)
    assert [event.text for event in top.shown_events()] == ["event 2", "event 1"]


def test_what_peers_say_cannot_steer_the_terminal() -> None:
    evil = Glance(_status(problems=["\x1b[2J gone\nline"]), [_node("\x1b[31mred")], [])
    top, _, _ = _top(evil)
    top.refresh()
    assert "\x1b" not in _text(top)
    assert len(screen(top, 80, 24)) == 24
