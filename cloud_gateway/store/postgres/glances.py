"""The fleet counted: what overviews, regions, the grid and the agents' list are made of.

What would mean to walk over all units is counted by the database with every commit: see ``tallying.py``."""

from collections.abc import Sequence

from cloud_gateway.model.queries import AgentCount, AgentQuery, GridCell, Overview, RegionCount
from cloud_gateway.store.columns import folded
from cloud_gateway.store.postgres.tallying import UNWELL
from cloud_gateway.store.postgres.wire import Link, storable
from cloud_gateway.store.tallies import NAMES_MAX

_NODES = """
SELECT region, state, count(*),
    count(*) FILTER (WHERE cpu_percent > '-infinity'), sum(cpu_percent) FILTER (WHERE cpu_percent > '-infinity'),
    count(*) FILTER (WHERE memory_percent > '-infinity'),
    sum(memory_percent) FILTER (WHERE memory_percent > '-infinity')
FROM nodes GROUP BY region, state ORDER BY region, state"""
_UNITS = "SELECT a, b, n FROM tallies WHERE what = 'units' AND n > 0 ORDER BY a, b"
_COUNTS = """
SELECT (SELECT count(*) FROM tallies WHERE what = 'skills' AND n > 0),
    (SELECT count(*) FROM tallies WHERE what = 'agents' AND n > 0),
    (SELECT count(*) FROM wishes), (SELECT coalesce(sum(pending), 0)::bigint FROM wishes),
    (SELECT count(*) FROM conflicts), (SELECT count(*) FROM gaps)"""
_GRID = """
SELECT region, name, state, cpu_percent, coalesce(n, 0)
FROM nodes LEFT JOIN tallies ON what = 'trouble' AND a = name AND b = '' ORDER BY region, name, node_id"""
_NAMES = "SELECT a FROM tallies WHERE what = 'agents' AND n > 0 AND a > $1 ORDER BY a"
_AGENTS = f"""
SELECT agent, count(*), count(*) FILTER (WHERE state = 'running'), count(*) FILTER (WHERE {UNWELL}),
    count(DISTINCT node), array_agg(DISTINCT region), array_agg(DISTINCT offered), max(version)
FROM instances WHERE agent = ANY($1::text[]) AND (cardinality($2::text[]) = 0 OR region = ANY($2))
GROUP BY agent ORDER BY agent LIMIT $3"""  # noqa: S608 - a constant of ours


async def regions(link: Link) -> list[RegionCount]:
    """In order of their names; a region of units without nodes is told too."""
    nodes: dict[str, list[Sequence[float]]] = {}
    states: dict[str, dict[str, int]] = {}
    units: dict[str, dict[str, int]] = {}
    for region, state, count, *sums in await link.fetch(_NODES):
        states.setdefault(region, {})[state] = count
        nodes.setdefault(region, []).append([part or 0 for part in sums])
    for region, state, count in await link.fetch(_UNITS):
        units.setdefault(region, {})[state] = count
    return [
        RegionCount(
            region=region,
            nodes=states.get(region, {}),
            instances=units.get(region, {}),
            cpu_percent=_mean(nodes.get(region, ()), 0),
            memory_percent=_mean(nodes.get(region, ()), 2),
        )
        for region in sorted({*states, *units})
    ]


async def overview(link: Link, events: int) -> Overview:
    told = await regions(link)
    row = await link.fetchrow(_COUNTS)
    assert row is not None, "aggregates always answer"
    skills, names, wishes, pending, conflicts, gaps = row
    return Overview(
        nodes=_added([region.nodes for region in told]),
        instances=_added([region.instances for region in told]),
        regions=told,
        skills=skills,
        agents=names,
        wishes=wishes,
        pending=pending,
        conflicts=conflicts,
        gaps=gaps,
        events_total=events,
    )


async def grid(link: Link) -> dict[str, list[GridCell]]:
    told: dict[str, list[GridCell]] = {}
    for region, name, state, cpu, troubled in await link.fetch(_GRID):
        told.setdefault(region, []).append(GridCell(name, state, round(cpu) if cpu >= 0 else -1, troubled))
    return told


async def agents(link: Link, query: AgentQuery) -> list[AgentCount]:
    q, among = folded(query.q), {storable(name) for name in query.agent}
    names = [row[0] for row in await link.fetch(_NAMES, storable(query.after))]
    names = [name for name in names if (not among or name in among) and q in folded(name)]
    if not query.region:
        names = names[: query.limit]
    rows = await link.fetch(_AGENTS, names, [storable(name) for name in query.region], query.limit)
    return [
        AgentCount(
            agent=row[0],
            instances=row[1],
            running=row[2],
            troubled=row[3],
            nodes=row[4],
            regions=sorted(row[5])[:NAMES_MAX],
            skills=sorted({name for text in row[6] for name in text.split("\n") if name})[:NAMES_MAX],
            version_max=row[7],
        )
        for row in rows
    ]


def _mean(sums: Sequence[Sequence[float]], at: int) -> float | None:
    """``at``: how many told it; behind it the sum."""
    count = sum(part[at] for part in sums)
    return sum(part[at + 1] for part in sums) / count if count else None


def _added(counts: Sequence[dict[str, int]]) -> dict[str, int]:
    total: dict[str, int] = {}
    for part in counts:
        for state, count in part.items():
            total[state] = total.get(state, 0) + count
    return total
