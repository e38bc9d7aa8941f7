"""Looks at the mesh through its node, round by round, and commits what differs from what is stored.

A round takes page by page, so that memory does not grow with the fleet, and the next begins ten times later than this
one took: watching costs a tenth, however large the fleet. A round that breaks off removes nothing.
"""

import asyncio
import logging
from collections.abc import Callable, Sequence
from typing import TypeVar

from cloud_gateway.mesh.census import Census
from cloud_gateway.mesh.differences import Differences
from cloud_gateway.mesh.ports import Door, Node, WallMs
from cloud_gateway.mesh.problems import Findings
from cloud_gateway.mesh.readings import conflict_row, instance_row, load_point, node_row, offer_row, wish_row
from cloud_gateway.mesh.threads import in_thread
from cloud_gateway.model.batch import Batch
from cloud_gateway.model.queries import Query
from cloud_gateway.model.rows import GapRow, LoadPoint, ProblemRow, Row, SourceRow
from cloud_gateway.store.port import Store
from meshnode.model.errors import LocalError
from meshnode.model.views import NodeView, StatusView

log = logging.getLogger(__name__)

PAGE_ROWS = 1000
TURN_ROWS = 50  # are worked through at once
ANSWER_S = 20.0
EVERY_S, EVERY_S_MAX, TIMES = 1.0, 8.0, 10
LOAD_EVERY_S = 5.0
SOURCE_EVERY_S = 5.0
GAPS_SHOWN, SINCE_MAX = 20, 500
KINDS = ("nodes", "instances", "skills", "wishes", "conflicts", "problems")
AnswerT = TypeVar("AnswerT")
ViewT = TypeVar("ViewT")
RowT = TypeVar("RowT", bound=Row)
Missing = Callable[[], dict[str, str]]


class Poller:
    """``missing``: node id -> why its journal cannot be read; ``puller``: the name of this replica; ``settled``: told
    when the store has taken a round; ``every_s``: how often, at most."""

    def __init__(
        self,
        store: Store,
        door: Door,
        census: Census,
        *,
        missing: Missing,
        wall_ms: WallMs,
        puller: str = "",
        settled: Callable[[], None] = lambda: None,
        every_s: float = EVERY_S,
    ) -> None:
        self._store, self._door, self._census = store, door, census
        self._missing, self._wall_ms, self._settled, self._every_s = missing, wall_ms, settled, every_s
        self._kinds: dict[str, Differences] = {}
        self._since: dict[str, int] = {}
        self._source = SourceRow(puller=puller)
        self._source_due_s = self._load_due_s = 0.0

    async def run(self) -> None:
        """Until cancelled, or ``StoreFailed``."""
        await self._remember()
        loop = asyncio.get_running_loop()
        while True:
            began = loop.time()
            problem = await self._round()
            pause_s = min(EVERY_S_MAX, max(self._every_s, TIMES * (loop.time() - began)))
            await self._tell(problem, pause_s)
            await asyncio.sleep(pause_s)

    async def _remember(self) -> None:
        for kind in KINDS:
            self._kinds[kind] = Differences(
                kind, await self._store.keys(kind), patience=kind == "skills",
                refreshes_a_second=350 if kind == "nodes" else 0 if kind == "problems" else 300,
            )  # fmt: skip
        listed = await self._store.listed(Query(kind="problems", limit=SINCE_MAX))
        self._since = {row.text: row.since_ms for row in listed.items if isinstance(row, ProblemRow)}
        kept = await self._store.source()
        self._source = SourceRow(
            node=kept.node, mesh=kept.mesh, version=kept.version, as_of_ms=kept.as_of_ms, problem=kept.problem,
            puller=self._source.puller,
        )  # fmt: skip

    async def _round(self) -> str:
        """Why it broke off; "" if it did not."""
        now_s = self._wall_ms() // 1000
        for differences in self._kinds.values():
            differences.begin(now_s)
        try:
            status = await self._ask(lambda node: node.status())
            findings = Findings(status.name)
            await self._nodes(findings)
            await self._instances(findings)
            await self._skills()
            await self._wishes(findings)
            await self._conflicts(findings)
            await self._problems(findings, status)
        except LocalError as error:
            log.debug("the gateway's node cannot be asked", extra={"why": error.message})
            return f"{error.message} -> {error.next_step}" if error.next_step else error.message
        self._source = SourceRow(
            node=status.name, mesh=status.mesh, version=status.version, as_of_ms=self._wall_ms(),
            problem=self._source.problem, poll_s=self._source.poll_s, puller=self._source.puller,
        )  # fmt: skip
        return ""

    # -- kind by kind -----------------------------------------------------------------------------------------------

    async def _nodes(self, findings: Findings) -> None:
        loads = self._loads_are_due()
        seen: set[str] = set()
        after = ""
        while True:
            views = await self._ask(lambda node, behind=after: node.nodes_page(behind, PAGE_ROWS))
            now_ms = self._wall_ms()
            self._census.note(views)
            seen.update(view.node_id for view in views)
            rows = await _mapped(views, lambda view, at=now_ms: node_row(view, at))
            findings.nodes(rows)
            await self._write("nodes", rows, _points(views, now_ms) if loads else [])
            if len(views) < PAGE_ROWS:
                break
            after = views[-1].node_id
        self._census.whole(seen)
        await self._remove("nodes")

    async def _instances(self, findings: Findings) -> None:
        after = ""
        while True:
            views = await self._ask(lambda node, behind=after: node.agents_page(behind, PAGE_ROWS))
            now_ms = self._wall_ms()
            rows = await _mapped(views, lambda view, at=now_ms: instance_row(view, self._census, at))
            findings.instances(rows)
            await self._write("instances", rows)
            if len(views) < PAGE_ROWS:
                break
            after = f"{views[-1].instance}@{views[-1].node}"
        await self._remove("instances")

    async def _skills(self) -> None:
        after = 0
        while True:
            views = await self._ask(lambda node, behind=after: node.skills_page(after=behind, limit=PAGE_ROWS))
            now_ms = self._wall_ms()
            await self._write("skills", await _mapped(views, lambda view, at=now_ms: offer_row(view, at)))
            if len(views) < PAGE_ROWS:
                break
            after = views[-1].rank
        await self._remove("skills")

    async def _wishes(self, findings: Findings) -> None:
        for kind in ("Agent", "AgentCluster"):
            views = await self._ask(lambda node, of=kind: node.documents(kind=of))
            rows = [wish_row(view, self._wall_ms()) for view in views]
            findings.wishes(rows)
            await self._write("wishes", rows)
        await self._remove("wishes")

    async def _conflicts(self, findings: Findings) -> None:
        views = await self._ask(lambda node: node.conflicts())
        rows = [conflict_row(view, self._wall_ms()) for view in views]
        findings.conflicts(rows)
        await self._write("conflicts", rows)
        await self._remove("conflicts")

    async def _problems(self, findings: Findings, status: StatusView) -> None:
        now_ms = self._wall_ms()
        gaps = await self._store.listed(Query(kind="gaps", sort="-noticed_ms", limit=GAPS_SHOWN))
        missing = {
            node_id: (resident.name, why)
            for node_id, why in self._missing().items()
            if (resident := self._census.get(node_id)) is not None
        }
        findings.journals(missing, [gap for gap in gaps.items if isinstance(gap, GapRow)], now_ms)
        findings.told(status.problems)
        rows = findings.rows(self._since, now_ms)
        self._since = {row.text: row.since_ms for row in rows}
        await self._write("problems", rows)
        await self._remove("problems")

    # -- how --------------------------------------------------------------------------------------------------------

    async def _ask(self, do: Callable[[Node], AnswerT]) -> AnswerT:
        return await in_thread(lambda: do(self._door(ANSWER_S)), "poll")

    async def _write(self, kind: str, rows: Sequence[Row], loads: Sequence[LoadPoint] = ()) -> None:
        differences = self._kinds[kind]
        changed: list[Row] = []
        for at in range(0, len(rows), TURN_ROWS):
            changed += differences.changed(rows[at : at + TURN_ROWS])
            await asyncio.sleep(0)
        if changed or loads:
            await self._store.commit(Batch(rows={kind: changed} if changed else {}, loads=list(loads)))
            differences.written(changed)

    async def _remove(self, kind: str) -> None:
        """After a whole round: what it has not seen."""
        gone = self._kinds[kind].gone()
        for at in range(0, len(gone), PAGE_ROWS):
            some = gone[at : at + PAGE_ROWS]
            await self._store.commit(Batch(gone={kind: some}))
            self._kinds[kind].forgotten(some)

    async def _tell(self, problem: str, pause_s: float) -> None:
        """The source, when it says something else than before, and every few seconds."""
        now_s = asyncio.get_running_loop().time()
        poll_s = round(pause_s, 1)
        known = self._source
        if problem == known.problem and abs(poll_s - known.poll_s) < 1 and now_s < self._source_due_s:
            return
        self._source_due_s = now_s + SOURCE_EVERY_S
        self._source = SourceRow(
            node=known.node, mesh=known.mesh, version=known.version, as_of_ms=known.as_of_ms, problem=problem,
            poll_s=poll_s, puller=known.puller,
        )  # fmt: skip
        await self._store.commit(Batch(source=self._source))
        self._settled()

    def _loads_are_due(self) -> bool:
        now_s = asyncio.get_running_loop().time()
        if now_s < self._load_due_s:
            return False
        self._load_due_s = now_s + LOAD_EVERY_S
        return True


async def _mapped(views: Sequence[ViewT], row_of: Callable[[ViewT], RowT]) -> list[RowT]:
    """Rows of views; after every few the loop has its turn: who reads the page must not wait for one of ours."""
    rows: list[RowT] = []
    for at in range(0, len(views), TURN_ROWS):
        rows += [row_of(view) for view in views[at : at + TURN_ROWS]]
        await asyncio.sleep(0)
    return rows


def _points(views: Sequence[NodeView], now_ms: int) -> list[LoadPoint]:
    return [point for view in views if (point := load_point(view, now_ms)) is not None]
