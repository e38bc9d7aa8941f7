"""The reading side: a checked question in, an answer out. What it knows of the fleet it asks of the store, or of the
mesh where the mesh must say it now."""

from collections.abc import Sequence
from typing import TypeVar

import msgspec

from cloud_gateway.api.answers import (
    All,
    EventsAnswer,
    GridAnswer,
    JournalAnswer,
    LinksAnswer,
    LoadAnswer,
    LoadCell,
    One,
    OverviewAnswer,
    Page,
)
from cloud_gateway.api.cursors import Cursors
from cloud_gateway.api.freshness import Freshness
from cloud_gateway.api.parameters import Asked
from cloud_gateway.api.ports import MeshDoor
from cloud_gateway.api.problems import invalid
from cloud_gateway.model.queries import (
    AgentCount,
    AgentQuery,
    Bound,
    EventQuery,
    JournalQuery,
    LoadQuery,
    Query,
    RegionCount,
    SkillQuery,
)
from cloud_gateway.model.rows import KEYS, InstanceRow, JsonObject, NodeRow, OfferRow, ProblemRow, Row
from cloud_gateway.store.port import Store
from meshnode.model.errors import NotFound, Offline
from meshnode.model.views import WhyView
from meshnode.model.where import parse_where

T = TypeVar("T")
RowT = TypeVar("RowT", bound=msgspec.Struct)
HOUR_MS = 3_600_000
LINKS_MAX, POINTS_MAX, PROBLEMS_MAX, SEARCH_SORT = 300, 5_000, 50, "-since_ms"
_NODE_ID_CHARS = 64


class Desk:
    """Answers reading operations. One for all requests; it holds no state of its own."""

    def __init__(self, store: Store, mesh: MeshDoor | None, fresh: Freshness, cursors: Cursors) -> None:
        self.store, self.fresh = store, fresh
        self._mesh, self._cursors = mesh, cursors

    # -- at one glance -----------------------------------------------------------------------------------------------

    async def overview(self, _asked: Asked) -> OverviewAnswer:
        counts = await self.store.overview()
        listed = await self.store.listed(Query(kind="problems", sort=SEARCH_SORT, limit=PROBLEMS_MAX))
        problems = [row for row in listed.items if isinstance(row, ProblemRow)]
        source = await self.fresh.source()
        told = {name: getattr(counts, name) for name in counts.__struct_fields__}
        return OverviewAnswer(
            **told,
            problems=sorted(problems, key=lambda row: row.severity != "error"),
            source=source,
            as_of=source.as_of_ms,
            stale=self.fresh.stale(source),
        )

    async def regions(self, _asked: Asked) -> All[RegionCount]:
        items = await self.store.regions()
        as_of, stale = await self._age()
        return All(items=items, as_of=as_of, stale=stale)

    async def grid(self, _asked: Asked) -> GridAnswer:
        regions = await self.store.grid()
        as_of, stale = await self._age()
        return GridAnswer(regions=regions, as_of=as_of, stale=stale)

    # -- lists of current rows ---------------------------------------------------------------------------------------

    async def listed(
        self, kind: str, asked: Asked, filters: Sequence[str]
    ) -> Page[msgspec.Raw] | Page[Row] | Page[JsonObject]:
        question = kind + asked.apart_from("limit", "after", "fields")
        query = Query(
            kind=kind,
            where={name: asked.texts(name) for name in filters if asked.texts(name)},
            q=asked.text("q"),
            sort=asked.text("sort"),
            limit=asked.number("limit"),
            after=self._cursors.open(question, asked.text("after")),
        )
        if fields := asked.texts("fields"):
            listed = await self.store.listed(query)
            return await self._page(listed.items, self._cursors.seal(question, listed.after), fields, KEYS[kind])
        told = await self.store.told(query)
        as_of, stale = await self._age()
        return Page(items=told.items, next=self._cursors.seal(question, told.after), as_of=as_of, stale=stale)

    async def agents(self, asked: Asked) -> Page[AgentCount] | Page[JsonObject]:
        question = "agents" + asked.apart_from("limit", "after", "fields")
        place = self._cursors.open(question, asked.text("after"))
        limit = asked.number("limit")
        query = AgentQuery(
            agent=asked.texts("agent"),
            region=asked.texts("region"),
            q=asked.text("q"),
            limit=limit,
            after=str(place[0]) if place else "",
        )
        items = await self.store.agents(query)
        more = (items[-1].agent,) if len(items) >= limit else None
        return await self._page(items, self._cursors.seal(question, more), asked.texts("fields"), ("agent",))

    async def agent(self, asked: Asked) -> One[AgentCount]:
        name = asked.text("name")
        found = await self.store.agents(AgentQuery(agent=[name], limit=1))
        if not found:
            raise NotFound(f"agent {name}: no unit of it is known here", next_step="GET /api/v1/agents lists them")
        return await self._one(found[0])

    # -- one row -----------------------------------------------------------------------------------------------------

    async def node(self, asked: Asked) -> One[NodeRow]:
        return await self._one(await self._node(asked.text("name")))

    async def instance(self, asked: Asked) -> All[InstanceRow]:
        """Behind the place just before the first row of that name stand exactly those of that name."""
        name = f"{asked.text('agent')}/{asked.text('slot')}"
        listed = await self.store.listed(
            Query(kind="instances", where={"agent": [asked.text("agent")]}, sort="instance", after=(name, name, ""))
        )
        items = [row for row in listed.items if isinstance(row, InstanceRow) and row.instance == name]
        if not items:
            raise NotFound(f"instance {name}: not known here", next_step="GET /api/v1/instances lists them")
        as_of, stale = await self._age()
        return All(items=items, as_of=as_of, stale=stale)

    async def row(self, kind: str, asked: Asked, names: Sequence[str]) -> One[Row]:
        key = tuple(asked.text(name) for name in names)
        row = await self.store.get(kind, key)
        if row is None:
            raise NotFound(f"{kind} {'/'.join(key)}: not known here", next_step=f"GET /api/v1/{kind} lists them")
        return await self._one(row)

    # -- history -----------------------------------------------------------------------------------------------------

    async def load(self, asked: Asked) -> LoadAnswer:
        to_ms = asked.number("to", self.fresh.now_ms())
        from_ms = asked.number("from", max(0, to_ms - HOUR_MS))
        step_ms = asked.number("step")
        if from_ms >= to_ms:
            raise invalid("from", "must be before to")
        if (to_ms - from_ms) // step_ms > POINTS_MAX:
            raise invalid("step", f"too small: that would be more than {POINTS_MAX} points")
        node = await self._node(asked.text("name"))
        query = LoadQuery(node_id=node.node_id, from_ms=from_ms, to_ms=to_ms, step_ms=step_ms)
        measures = await self.store.loads(query)
        told = {name: [LoadCell(s.at_ms, s.low, s.mean, s.high) for s in spans] for name, spans in measures.items()}
        steps = [span.step_ms for spans in measures.values() for span in spans]
        as_of, stale = await self._age()
        return LoadAnswer(step_ms=max(steps, default=step_ms), measures=told, as_of=as_of, stale=stale)

    async def events(self, asked: Asked) -> EventsAnswer:
        question = "events" + asked.apart_from("limit", "after")
        place = self._cursors.open(question, asked.text("after"))
        query = EventQuery(
            node=asked.text("node"),
            region=asked.text("region"),
            subject=asked.text("subject"),
            q=asked.text("q"),
            from_ms=asked.number("from"),
            to_ms=asked.number("to"),
            limit=asked.number("limit"),
            after=str(place[0]) if place else "",
        )
        found = await self.store.events(query)
        after: tuple[Bound, ...] | None = (found.after,) if found.after else None
        as_of, stale = await self._age()
        return EventsAnswer(
            items=found.items,
            next=self._cursors.seal(question, after),
            searched_to_ms=found.searched_to_ms,
            as_of=as_of,
            stale=stale,
        )

    async def journal(self, asked: Asked) -> JournalAnswer:
        node = await self._node(asked.text("node"))
        question = f"journal{node.node_id}"
        life, number = _pair(self._cursors.open(question, asked.text("after")))
        query = JournalQuery(node_id=node.node_id, life=life, number=number, limit=asked.number("limit"))
        found = await self.store.journal(query)
        last = found.items[-1] if found.items and found.more else None
        as_of, stale = await self._age()
        return JournalAnswer(
            items=found.items,
            gaps=found.gaps,
            next=self._cursors.seal(question, (last.life, last.number) if last else None),
            as_of=as_of,
            stale=stale,
        )

    async def search(self, asked: Asked) -> Page[OfferRow]:
        parse_where(asked.text("where"))  # refuses what is no constraint, before the store is asked
        question = "search" + asked.apart_from("limit", "after")
        place = self._cursors.open(question, asked.text("after"))
        query = SkillQuery(
            skill=asked.text("skill"),
            where=asked.text("where"),
            region=asked.text("region"),
            limit=asked.number("limit"),
            after=int(place[0] or 0) if place else 0,
        )
        items, rank = await self.store.skills(query)
        as_of, stale = await self._age()
        following = self._cursors.seal(question, (rank,) if rank else None)
        return Page(items=list(items), next=following, as_of=as_of, stale=stale)

    # -- asked of the mesh now ---------------------------------------------------------------------------------------

    async def links(self, asked: Asked) -> LinksAnswer:
        name = asked.text("name")
        items = await self._door().links(name)
        return LinksAnswer(
            node=name, items=items[:LINKS_MAX], more=len(items) > LINKS_MAX, as_of=self.fresh.now_ms(), stale=False
        )

    async def why(self, asked: Asked) -> One[WhyView]:
        story = await self._door().why(asked.text("subject"))
        return One(item=story, as_of=self.fresh.now_ms(), stale=False)

    # ----------------------------------------------------------------------------------------------------------------

    def _door(self) -> MeshDoor:
        if self._mesh is None:
            raise Offline("this gateway has no node to ask", next_step="start it with one: meshnode gateway")
        return self._mesh

    async def _node(self, name: str) -> NodeRow:
        row = await self.store.get("nodes", (name,)) if len(name) == _NODE_ID_CHARS else await self.store.named(name)
        if not isinstance(row, NodeRow):
            raise NotFound(f"node {name}: not known here", next_step="GET /api/v1/nodes lists them")
        return row

    async def _age(self) -> tuple[int, bool]:
        source = await self.fresh.source()
        return source.as_of_ms, self.fresh.stale(source)

    async def _one(self, item: T) -> One[T]:
        as_of, stale = await self._age()
        return One(item=item, as_of=as_of, stale=stale)

    async def _page(
        self, items: list[RowT], following: str | None, fields: list[str], keys: Sequence[str]
    ) -> Page[RowT] | Page[JsonObject]:
        as_of, stale = await self._age()
        if not fields:
            return Page(items=items, next=following, as_of=as_of, stale=stale)
        kept = (*keys, *(name for name in dict.fromkeys(fields) if name not in keys))
        shown: list[JsonObject] = [{name: getattr(row, name) for name in kept} for row in items]
        return Page(items=shown, next=following, as_of=as_of, stale=stale)


def _pair(place: tuple[Bound, ...] | None) -> tuple[int, int]:
    return (int(place[0] or 0), int(place[1] or 0)) if place else (0, 0)
