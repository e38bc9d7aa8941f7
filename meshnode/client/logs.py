"""Logs of all nodes as one: each is asked for what is new, the lines are merged by their HLC stamps.

A line may reach its node's log a moment after a later one of another node was read. So while several nodes are
followed, a line is held back until every node has been asked once more: what comes before it has come by then.
"""

import time
from collections.abc import Callable, Generator, Iterable, Sequence

import msgspec

from meshnode.client.client import Client
from meshnode.model.errors import LocalError
from meshnode.model.views import LogLine, LogsView, NodeView

POLL_S = 0.5
PAGE_LINES = 500
# Pages of one node before the others have their turn again.
PAGES_MAX = 20
HELD_MAX = 50_000


class Missing(msgspec.Struct, frozen=True):
    """A node whose lines are not there, and why."""

    node: str
    reason: str


class Merge:
    """Lines of several nodes, held until nothing earlier can come."""

    def __init__(self) -> None:
        self._held: list[LogLine] = []
        self._until = 0  # stamps up to here were seen in the round before

    def round(self, lines: Iterable[LogLine], *, alone: bool) -> list[LogLine]:
        """What all nodes gave in one round -> the lines that may be shown now, in order."""
        self._held.extend(lines)
        self._held.sort(key=_order)
        if alone:
            return self.flush()
        until, self._until = self._until, self._held[-1].hlc if self._held else self._until
        ready = sum(line.hlc <= until for line in self._held)
        ready = max(ready, len(self._held) - HELD_MAX)
        shown, self._held = self._held[:ready], self._held[ready:]
        return shown

    def flush(self) -> list[LogLine]:
        shown, self._held = self._held, []
        return shown


def _order(line: LogLine) -> tuple[int, str]:
    return (line.hlc, line.node)


def read_logs(client: Client, agent: str = "", node: str = "", after: int = 0) -> Generator[LogLine | Missing]:
    """What there is now, of one node or all, in order; first the nodes that could not be asked."""
    reader = _Reader(client, agent, node, after)
    merge = Merge()
    lines, missing = reader.round()
    yield from missing
    yield from merge.round(lines, alone=True)


def follow_logs(
    client: Client,
    agent: str = "",
    node: str = "",
    after: int = 0,
    *,
    sleep: Callable[[float], None] = time.sleep,
) -> Generator[LogLine | Missing]:
    """What there is and what comes, without end. A node that cannot be asked is told once, until it can again.

    Raises:
        LocalError: this machine's own node has gone.
    """
    reader = _Reader(client, agent, node, after)
    merge = Merge()
    first = True
    while True:
        lines, missing = reader.round()
        yield from missing
        # What is there already was written long before it was asked for: nothing is held back of it.
        yield from merge.round(lines, alone=first or reader.asked <= 1)
        first = False
        sleep(POLL_S)


class _Reader:
    """Asks each node for what it has not given yet."""

    def __init__(self, client: Client, agent: str, node: str, after: int) -> None:
        self._client, self._agent, self._node, self._since = client, agent, node, after
        self._after: dict[str, int] = {}  # node -> last stamp it gave
        self._missed: dict[str, str] = {}
        self.asked = 0

    def round(self) -> tuple[list[LogLine], list[Missing]]:
        lines: list[LogLine] = []
        missing: list[Missing] = []
        self.asked = 0
        for node in self._nodes():
            reason = _out_of_reach(node)
            if not reason:
                self.asked += 1
                reason = self._read(node.name, lines)
            if reason and node.name not in self._missed:
                missing.append(Missing(node.name, reason))
            if reason:
                self._missed[node.name] = reason
            else:
                self._missed.pop(node.name, None)
        return lines, missing

    def _nodes(self) -> Sequence[NodeView]:
        if self._node:
            return [self._client.node(self._node)]
        return [node for node in self._client.nodes() if node.state != "left"]

    def _read(self, node: str, lines: list[LogLine]) -> str:
        """Add what is new there; why not, if it cannot be had."""
        for _ in range(PAGES_MAX):
            after = self._after.get(node, self._since)
            try:
                view = self._client.logs(self._agent, node, after, PAGE_LINES)
            except LocalError as error:
                if error.code == "offline" and not self._is_here():
                    raise
                return error.message
            lines.extend(view.items)
            if view.missing:
                return "; ".join(view.missing)
            self._after[node] = max((line.hlc for line in view.items), default=after)
            if not _goes_on(view, after):
                break
        return ""

    def _is_here(self) -> bool:
        try:
            self._client.status()
        except LocalError:
            return False
        return True


def _goes_on(view: LogsView, after: int) -> bool:
    """Later lines are there already. Without a stamp to begin after the newest were asked for, and nothing is later."""
    return view.more and bool(view.items) and after > 0


def _out_of_reach(node: NodeView) -> str:
    if node.self_node or node.state in ("ready", "suspect"):
        return ""
    return f"{node.state}{': ' + node.reason if node.reason else ''}"
