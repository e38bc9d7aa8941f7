"""``top`` as lines of styled text for a screen of any size. No terminal either."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from meshnode.cli import rows
from meshnode.cli.machine import load_words, number
from meshnode.cli.table import Column, table
from meshnode.cli.top_model import PANELS, Top
from meshnode.cli.words import age, clock, one_line, span
from meshnode.model.views import AgentView, EventView, NodeView, StatusView

RowT = TypeVar("RowT")
WIDTH_MIN, HEIGHT_MIN = 40, 10
PROBLEMS_SHOWN = 4
BAR_CELLS = 10
# Styles: "" plain, or one of: title, good, warn, bad, dim, here (the row under the cursor).
Line = tuple[str, str]
_STATE_STYLES = {
    "ready": "", "running": "", "suspect": "warn", "starting": "warn", "stopping": "warn", "backoff": "bad",
    "pending": "warn", "unreachable": "bad", "down": "bad", "left": "dim", "failed": "bad", "stopped": "dim",
}  # fmt: skip
HELP = "q quit  tab panel  up/down move  enter why  / filter"


def _bar(percent: float | None) -> str:
    if percent is None:
        return ""
    full = round(max(0.0, min(percent, 100.0)) / 100 * BAR_CELLS)
    return f"{'#' * full}{'.' * (BAR_CELLS - full)} {percent:3.0f}%"


_NODES: tuple[Column[NodeView], ...] = (
    Column(title="NODE", cell=lambda n: f"{n.name} *" if n.self_node else n.name),
    Column(title="STATE", cell=lambda n: f"{n.state},drained" if n.drained else n.state),
    Column(title="REGION", cell=lambda n: n.region),
    Column(title="CPU", cell=lambda n: _bar(number(n.load, "cpu_percent"))),
    Column(title="MEMORY", cell=lambda n: _bar(number(n.load, "memory_percent"))),
    Column(title="LOAD", cell=lambda n: load_words(n.load), right=True),
    Column(title="AGENTS", cell=lambda n: str(n.agents), right=True),
    Column(title="PATH", cell=lambda n: n.path if n.rtt_ms is None else f"{n.path} {n.rtt_ms:.1f}ms"),
    Column(title="SEEN", cell=lambda n: rows.seen(n.age_s, here=n.self_node)),
    Column(title="REASON", cell=lambda n: n.reason, optional=True),
)
_EVENTS: tuple[Column[EventView], ...] = (
    Column(title="AT", cell=lambda e: clock(e.at_ms)[11:]),
    Column(title="ABOUT", cell=lambda e: e.subject),
    Column(title="WHAT HAPPENED", cell=lambda e: e.text),
)


def screen(top: Top, width: int, height: int) -> list[Line]:
    """Exactly ``height`` lines of at most ``width`` characters."""
    if width < WIDTH_MIN or height < HEIGHT_MIN:
        return _fitted([("make this window larger", "warn")], width, height)
    foot: Line = (f"/{top.filter}_" if top.typing else _foot(top), "dim")
    body = _story(top) if top.story else _panel(top, height)
    lines = [*_head(top), *body]
    return [*_fitted(lines, width, height - 1), (foot[0][:width], foot[1])]


def _foot(top: Top) -> str:
    return f"filter: {top.filter}   {HELP}" if top.filter else HELP


def _fitted(lines: Sequence[Line], width: int, height: int) -> list[Line]:
    cut = [(one_line(text)[:width], style) for text, style in lines[:height]]
    return [*cut, *[("", "")] * (height - len(cut))]


def _head(top: Top) -> list[Line]:
    if top.glance is None:
        return [(f"meshnode top   {top.problem or 'asking the node ...'}", "bad" if top.problem else "dim"), ("", "")]
    status = top.glance.status
    lines: list[Line] = [(_title(status), "title"), (_counts(top, status), "")]
    if top.problem:
        lines.append((f"! as of {age(top.age_s())} ago: {top.problem}", "bad"))
    shown = status.problems[:PROBLEMS_SHOWN]
    lines += [(f"! {problem}", "warn") for problem in shown]
    if len(status.problems) > len(shown):
        lines.append((f"! and {len(status.problems) - len(shown)} more: meshnode status", "warn"))
    return [*lines, (_tabs(top), "dim")]


def _title(status: StatusView) -> str:
    region = f"  region {status.region}" if status.region else ""
    return f"{status.name}  mesh {status.mesh}{region}  up {span(status.uptime_s)}  version {status.version}"


def _counts(top: Top, status: StatusView) -> str:
    calls = top.calls()
    failing = f", {calls.failed:.1f}/s failed" if calls.failed else ""
    return (
        f"nodes {status.nodes_reachable} of {status.nodes_known} reachable   "
        f"agents {status.agents_running} of {status.agents_total} running here   "
        f"calls {calls.ok:.1f}/s answered{failing}, {calls.total} so far"
    )


def _tabs(top: Top) -> str:
    return "   ".join(f"[{panel}]" if panel == top.panel else f" {panel} " for panel in PANELS)


def _story(top: Top) -> list[Line]:
    return [(line, "title" if at == 0 else "") for at, line in enumerate([*top.story, "", "esc closes this"])]


def _panel(top: Top, height: int) -> list[Line]:
    match top.panel:
        case "nodes":
            return _rows(top, top.shown_nodes(), _NODES, height, "no node fits the filter", _node_style)
        case "agents":
            return _rows(top, top.shown_agents(), rows.AGENTS, height, "no agents: meshnode run FILE", _agent_style)
        case _:
            return _rows(top, top.shown_events(), _EVENTS, height, "nothing has happened yet", lambda _: "")


def _rows(
    top: Top,
    shown: Sequence[RowT],
    columns: Sequence[Column[RowT]],
    height: int,
    empty: str,
    style: Callable[[RowT], str],
) -> list[Line]:
    """The window of rows that holds the cursor."""
    if not shown:
        return [(empty, "dim")]
    room = max(1, height - 6 - PROBLEMS_SHOWN)
    first = max(0, min(top.at - room // 2, len(shown) - room))
    window = shown[first : first + room]
    head, *lines = table(window, columns, wide=False, colour=False)
    marked: list[Line] = [(head, "dim")]
    for at, (row, line) in enumerate(zip(window, lines, strict=True), start=first):
        marked.append((line, "here" if at == min(top.at, len(shown) - 1) else style(row)))
    if len(shown) > len(window):
        marked.append((f"{first + 1}-{first + len(window)} of {len(shown)}", "dim"))
    return marked


def _node_style(node: NodeView) -> str:
    stale = node.state == "ready" and not node.self_node and node.age_s > rows.STALE_S
    return "dim" if stale else _STATE_STYLES.get(node.state, "")


def _agent_style(agent: AgentView) -> str:
    return _STATE_STYLES.get(agent.state, "")
