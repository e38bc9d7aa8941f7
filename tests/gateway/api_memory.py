"""A store of plain dictionaries: what the API's tests hand over, with faults to be planted in it.

The simplest thing that fits the door; it is slow and forgets. Not what is shipped.
"""

import asyncio
import fnmatch
from collections import Counter
from collections.abc import AsyncIterator, Iterable, Sequence

import msgspec

from cloud_gateway.model.batch import Batch, Changes, Committed
from cloud_gateway.model.fingerprint import fingerprint
from cloud_gateway.model.listings import LISTINGS
from cloud_gateway.model.queries import (
    AgentCount,
    AgentQuery,
    EventQuery,
    EventsListed,
    GridCell,
    JournalListed,
    JournalQuery,
    Listed,
    LoadQuery,
    Overview,
    Query,
    RegionCount,
    SkillQuery,
)
from cloud_gateway.model.rows import (
    CURRENT,
    KEYS,
    CommandRow,
    CursorRow,
    EventRow,
    InstanceRow,
    Key,
    LoadPoint,
    LoadSpan,
    NodeRow,
    OfferRow,
    Row,
    SourceRow,
    WishRow,
    key_of,
)
from cloud_gateway.store.feed import Feed

_WELL = frozenset({"running", "starting", "stopped", "stopping"})


class MemoryStore:
    """``fails``: raised by everything that reads, when set. ``slow_s``: every reading takes this long."""

    def __init__(self) -> None:
        self.rows: dict[str, dict[Key, Row]] = {kind: {} for kind in CURRENT}
        self.all_events: list[EventRow] = []
        self.points: list[LoadPoint] = []
        self._source, self._feed, self.seq = SourceRow(), Feed(), 0
        self.fails: Exception | None = None
        self.slow_s = 0.0

    async def lead(self) -> None: ...

    async def commit(self, batch: Batch) -> Committed:
        for kind, rows in batch.rows.items():
            self.rows[kind].update((key_of(kind, row), row) for row in rows)
        for kind, keys in batch.gone.items():
            for key in keys:
                self.rows[kind].pop(key, None)
        self.all_events.extend(batch.events)
        self.points = [*self.points, *batch.loads][-50_000:]
        self._source = batch.source or self._source
        self.tell_all(Changes(seq=0, at_ms=self._source.as_of_ms, rows=batch.rows, gone=batch.gone,
                              events=batch.events, source=batch.source))  # fmt: skip
        return Committed(self.seq, len(batch.events))

    def tell_all(self, changes: Changes) -> None:
        self.seq += 1
        self._feed.tell(msgspec.structs.replace(changes, seq=self.seq))

    async def cursors(self) -> dict[str, CursorRow]:
        return {row.node_id: row for row in self.rows["cursors"].values() if isinstance(row, CursorRow)}

    async def keys(self, kind: str) -> dict[Key, int]:
        return {key: fingerprint(row) for key, row in self.rows[kind].items()}

    async def ask(self, command: CommandRow) -> None:
        await self.commit(Batch(rows={"commands": [command]}))

    async def tell(self, command: CommandRow) -> None:
        await self.ask(command)

    async def open_commands(self, limit: int) -> list[CommandRow]:
        found = [row for row in self.rows["commands"].values() if isinstance(row, CommandRow)]
        return [row for row in found if row.state in ("queued", "accepted")][:limit]

    async def listed(self, query: Query) -> Listed:
        await self._read()
        sort = query.sort or LISTINGS[query.kind].sorts[0]
        name, keys = sort.removeprefix("-"), KEYS[query.kind]

        def place(row: Row) -> tuple[tuple[bool, object], ...]:
            return tuple((part is not None, part) for part in (getattr(row, name), *key_of(query.kind, row)))

        rows = sorted((r for r in self.rows[query.kind].values() if _fits(query, r)), key=place,
                      reverse=sort.startswith("-"))  # fmt: skip
        if query.after is not None:
            bound = tuple((part is not None, part) for part in query.after)
            rows = [r for r in rows if (place(r) < bound if sort.startswith("-") else place(r) > bound)]
        page = rows[: query.limit]
        more = len(rows) > len(page)
        return Listed(page, (getattr(page[-1], name), *(getattr(page[-1], k) for k in keys)) if more else None)

    async def get(self, kind: str, key: Key) -> Row | None:
        await self._read()
        return self.rows[kind].get(key)

    async def named(self, name: str) -> Row | None:
        await self._read()
        return next((row for row in self._nodes() if row.name == name), None)

    async def agents(self, query: AgentQuery) -> list[AgentCount]:
        await self._read()
        units: dict[str, list[InstanceRow]] = {}
        for row in self._instances():
            if (not query.agent or row.agent in query.agent) and (not query.region or row.region in query.region):
                units.setdefault(row.agent, []).append(row)
        names = sorted(n for n in units if n > query.after and query.q.casefold() in n.casefold())[: query.limit]
        return [_agent(name, units[name]) for name in names]

    async def skills(self, query: SkillQuery) -> tuple[Sequence[OfferRow], int]:
        await self._read()
        found = [row for row in self.rows["skills"].values() if isinstance(row, OfferRow)]
        found = [
            r for r in found if fnmatch.fnmatchcase(r.skill, query.skill or "*") and query.region in ("", r.region)
        ]
        ranked = sorted(found, key=lambda r: (bool(r.excluded), r.rtt_ms or 0, r.node, r.agent, r.skill))
        end = query.after + query.limit
        return ranked[query.after : end], end if end < len(ranked) else 0

    async def events(self, query: EventQuery) -> EventsListed:
        await self._read()
        end = int(query.after or len(self.all_events))
        found: list[EventRow] = []
        for at in range(end - 1, -1, -1):
            event = self.all_events[at]
            if _happened(query, event):
                found.append(event)
            if len(found) >= query.limit:
                return EventsListed(found, str(at), event.at_ms)
        return EventsListed(found)

    async def journal(self, query: JournalQuery) -> JournalListed:
        await self._read()
        found = [
            e for e in self.all_events if e.node_id == query.node_id and (e.life, e.number) > (query.life, query.number)
        ]
        return JournalListed(found[: query.limit], [], len(found) > query.limit)

    async def loads(self, query: LoadQuery) -> dict[str, list[LoadSpan]]:
        await self._read()
        points = [p for p in self.points if p.node_id == query.node_id and query.from_ms <= p.at_ms < query.to_ms]
        told: dict[str, list[LoadSpan]] = {}
        for point in points:
            for name in ("cpu", "memory", "disk", "accelerator", "load"):
                if (value := getattr(point, name)) is not None:
                    span = LoadSpan(
                        at_ms=point.at_ms, step_ms=query.step_ms, count=1, low=value, mean=value, high=value
                    )
                    told.setdefault(name, []).append(span)
        return told

    async def overview(self) -> Overview:
        await self._read()
        wishes = [row for row in self.rows["wishes"].values() if isinstance(row, WishRow)]
        return Overview(
            nodes=dict(Counter(r.state for r in self._nodes())),
            instances=dict(Counter(r.state for r in self._instances())),
            regions=await self.regions(),
            skills=len({key[0] for key in self.rows["skills"]}),
            agents=len({row.agent for row in self._instances()}),
            wishes=len(wishes),
            pending=sum(row.pending for row in wishes),
            conflicts=len(self.rows["conflicts"]),
            gaps=len(self.rows["gaps"]),
            events_total=len(self.all_events),
        )

    async def regions(self) -> list[RegionCount]:
        await self._read()
        nodes: dict[str, list[NodeRow]] = {}
        for row in self._nodes():
            nodes.setdefault(row.region, []).append(row)
        units: dict[str, Counter[str]] = {}
        for unit in self._instances():
            units.setdefault(unit.region, Counter())[unit.state] += 1
        return [
            RegionCount(
                region=region,
                nodes=dict(Counter(row.state for row in rows)),
                instances=dict(units.get(region, {})),
                cpu_percent=_mean(row.cpu_percent for row in rows),
                memory_percent=_mean(row.memory_percent for row in rows),
            )
            for region, rows in sorted(nodes.items())
        ]

    async def grid(self) -> dict[str, list[GridCell]]:
        await self._read()
        troubled = Counter(unit.node for unit in self._instances() if unit.state not in _WELL)
        told: dict[str, list[GridCell]] = {}
        for row in sorted(self._nodes(), key=lambda row: (row.region, row.name)):
            cpu = -1 if row.cpu_percent is None else round(row.cpu_percent)
            told.setdefault(row.region, []).append(GridCell(row.name, row.state, cpu, troubled[row.name]))
        return told

    async def source(self) -> SourceRow:
        await self._read()
        return self._source

    def changes(self) -> AsyncIterator[Changes]:
        return self._feed.changes()

    async def sizes(self) -> dict[str, int]:
        await self._read()
        return {"events": len(self.all_events), "rows": sum(len(rows) for rows in self.rows.values())}

    async def close(self) -> None:
        self._feed.close()

    async def _read(self) -> None:
        if self.slow_s:
            await asyncio.sleep(self.slow_s)
        if self.fails is not None:
            raise self.fails

    def _nodes(self) -> list[NodeRow]:
        return [row for row in self.rows["nodes"].values() if isinstance(row, NodeRow)]

    def _instances(self) -> list[InstanceRow]:
        return [row for row in self.rows["instances"].values() if isinstance(row, InstanceRow)]


def _fits(query: Query, row: Row) -> bool:
    for name, wanted in query.where.items():
        value = getattr(row, name)
        if (str(value).lower() if isinstance(value, bool) else value) not in wanted:
            return False
    searched = " ".join(str(getattr(row, name)) for name in LISTINGS[query.kind].search)
    return query.q.casefold() in searched.casefold()


def _happened(query: EventQuery, event: EventRow) -> bool:
    return (
        query.node in ("", event.node)
        and query.region in ("", event.region)
        and (not query.subject or event.subject == query.subject
             or (query.subject.endswith("/") and event.subject.startswith(query.subject)))
        and query.q.casefold() in event.text.casefold()
        and query.from_ms <= event.at_ms < (query.to_ms or 1 << 60)
    )  # fmt: skip


def _agent(name: str, units: list[InstanceRow]) -> AgentCount:
    return AgentCount(
        agent=name,
        instances=len(units),
        running=sum(row.state == "running" for row in units),
        troubled=sum(row.state not in _WELL for row in units),
        nodes=len({row.node for row in units}),
        regions=sorted({row.region for row in units})[:50],
        skills=sorted({skill for row in units for skill in row.skills})[:50],
        version_max=max(row.version for row in units),
    )


def _mean(values: Iterable[float | None]) -> float | None:
    told = [value for value in values if value is not None]
    return sum(told) / len(told) if told else None
