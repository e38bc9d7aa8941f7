"""What ``top`` knows: the node's newest answers, how fast calls end, what the person looks at. No terminal."""

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import Protocol

import msgspec

from meshnode.cli import rows
from meshnode.cli.machine import number
from meshnode.client.events import Told
from meshnode.model.errors import LocalError
from meshnode.model.views import AgentView, EventView, NodeView, StatusView

EVENTS_SHOWN = 200
# Calls are counted over this long: shorter jumps about, longer is late.
RATE_S = 10.0
PANELS = ("nodes", "agents", "events")
_CALLS, _OK = "calls.calls-", "calls.calls-ok"
# No ends of calls: tried again, or answered from memory before they count as answered.
_NO_ENDS = ("calls.calls-again", "calls.calls-replayed")


class Node(Protocol):
    """The client, as far as ``top`` asks it."""

    def status(self) -> StatusView: ...
    def nodes(self) -> list[NodeView]: ...
    def agents(self) -> list[AgentView]: ...
    def events(self, after: int = 0, *, follow: bool = True) -> Iterator[Told]: ...


class Calls(msgspec.Struct, frozen=True):
    """Ends of calls that this node carried, a second."""

    ok: float
    failed: float
    total: int


class Glance(msgspec.Struct, frozen=True):
    """One round of answers."""

    status: StatusView
    nodes: Sequence[NodeView]
    agents: Sequence[AgentView]


class Top:
    """``refresh`` asks the node; the rest answers the person's keys. ``problem``: why what is shown is old."""

    def __init__(self, node: Node, clock: Callable[[], float] = time.monotonic) -> None:
        self._node, self._clock = node, clock
        self.glance: Glance | None = None
        self.events: deque[EventView] = deque(maxlen=EVENTS_SHOWN)
        self.problem = ""
        self.asked_s = 0.0
        self.panel = PANELS[0]
        self.filter = ""
        self.typing = False
        self.at = 0
        self.story: Sequence[str] = ()  # an opened row: lines of ``why``
        self._last_event = 0
        self._counted: deque[tuple[float, int, int]] = deque()

    # -- the node ---------------------------------------------------------------------------------------------------

    def refresh(self) -> None:
        try:
            glance = Glance(self._node.status(), self._node.nodes(), self._node.agents())
            self._hear()
        except LocalError as error:
            self.problem = error.message
            return
        self.glance, self.problem, self.asked_s = glance, "", self._clock()
        self._count(glance.status.counters)

    def age_s(self) -> float:
        return self._clock() - self.asked_s

    def calls(self) -> Calls:
        if not self._counted:
            return Calls(0.0, 0.0, 0)
        (first_s, first_ok, first_failed), (last_s, ok, failed) = self._counted[0], self._counted[-1]
        took_s = max(last_s - first_s, 1e-9)
        return Calls(max(0, ok - first_ok) / took_s, max(0, failed - first_failed) / took_s, ok + failed)

    def _hear(self) -> None:
        for told in self._node.events(self._last_event, follow=False):
            self.events.append(told.event)
            self._last_event = max(self._last_event, told.number)

    def _count(self, counters: dict[str, int]) -> None:
        ends = {name: n for name, n in counters.items() if name.startswith(_CALLS) and name not in _NO_ENDS}
        ok = ends.pop(_OK, 0)
        if self._counted and ok + sum(ends.values()) < sum(self._counted[-1][1:]):
            self._counted.clear()  # the daemon has started anew
        self._counted.append((self._clock(), ok, sum(ends.values())))
        while len(self._counted) > 2 and self._counted[-1][0] - self._counted[0][0] > RATE_S:
            self._counted.popleft()

    # -- what is looked at ------------------------------------------------------------------------------------------

    def shown_nodes(self) -> list[NodeView]:
        nodes = [n for n in self.glance.nodes if self._fits(n.name, n.state, n.region)] if self.glance else []
        return sorted(nodes, key=lambda n: (n.state == "ready", -(number(n.load, "cpu_percent") or 0), n.name))

    def shown_agents(self) -> list[AgentView]:
        agents = [a for a in self.glance.agents if self._fits(a.instance, a.state, a.node)] if self.glance else []
        return sorted(agents, key=lambda a: (a.state == "running", rows.unit_words(a), a.node))

    def shown_events(self) -> list[EventView]:
        return [event for event in reversed(self.events) if self._fits(event.subject, event.text)]

    def count(self) -> int:
        shown = {"nodes": self.shown_nodes, "agents": self.shown_agents, "events": self.shown_events}
        return len(shown[self.panel]())

    def subject(self) -> str:
        """What ``why`` is asked about for the row under the cursor, "" when there is none."""
        match self.panel:
            case "nodes" if nodes := self.shown_nodes():
                return f"node/{nodes[min(self.at, len(nodes) - 1)].name}"
            case "agents" if agents := self.shown_agents():
                return f"agent/{agents[min(self.at, len(agents) - 1)].name}"
            case "events" if events := self.shown_events():
                return events[min(self.at, len(events) - 1)].subject
            case _:
                return ""

    def move(self, by: int) -> None:
        self.at = max(0, min(self.at + by, self.count() - 1))

    def turn(self, by: int) -> None:
        self.panel = PANELS[(PANELS.index(self.panel) + by) % len(PANELS)]
        self.at = 0

    def _fits(self, *words: str) -> bool:
        return not self.filter or any(self.filter.lower() in word.lower() for word in words)
