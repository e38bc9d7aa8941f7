"""Who offers a skill, ranked: callable first, then quick. Constraints are judged node by node, as a page needs it."""

import asyncio
import fnmatch
from collections.abc import Sequence

from cloud_gateway.model.queries import SkillQuery
from cloud_gateway.model.rows import NodeRow, OfferRow
from cloud_gateway.store.columns import LAYOUTS, selected
from cloud_gateway.store.postgres.rows import row_of
from cloud_gateway.store.postgres.wire import Link, Record, storable
from meshnode.model.where import Constraint, parse_where, unfit

SCANNED_MAX = 20_000
_STEP = 500
_PATTERN = frozenset("*?[")

# Distinct names by jumping along the key: as many steps as there are skills, however many offer them.
_NAMES = """
WITH RECURSIVE names (skill) AS (
    (SELECT skill FROM skills ORDER BY skill LIMIT 1)
    UNION ALL
    SELECT (SELECT s.skill FROM skills AS s WHERE s.skill > names.skill ORDER BY s.skill LIMIT 1) FROM names
    WHERE names.skill IS NOT NULL
) SELECT skill FROM names WHERE skill IS NOT NULL"""
_RANKED = f"""
SELECT {selected(LAYOUTS["skills"])}, body FROM skills
WHERE ($1::text[] IS NULL OR skill = ANY($1)) AND ($2 = '' OR region = $2)
ORDER BY excluded <> '', CASE WHEN rtt_ms = '-infinity' THEN 'infinity' ELSE rtt_ms END, skill, agent, node
OFFSET $3 LIMIT $4"""  # noqa: S608 - names of our own fields
_NODES = f"""
SELECT {selected(LAYOUTS["nodes"])}, body FROM nodes WHERE name = ANY($1::text[])"""  # noqa: S608 - names of our own fields


async def skills(link: Link, query: SkillQuery) -> tuple[Sequence[OfferRow], int]:
    """A page, and the rank to go on behind: it ends early when very many offers stand on nodes that do not fit."""
    names = await _wanted(link, storable(query.skill))
    fitting = _Fitting(link, parse_where(query.where))
    found: list[OfferRow] = []
    rank, step = query.after, query.limit + 1 if not query.where else max(_STEP, query.limit + 1)
    while True:
        rows = await link.fetch(_RANKED, names, storable(query.region), rank, step)
        offers = [_offer(row) for row in rows]
        await fitting.look_at([offer.node for offer in offers])
        for offer in offers:
            if len(found) == query.limit:
                return found, rank
            rank += 1
            if fitting.fits(offer.node):
                found.append(offer)
        if len(rows) < step:
            return found, 0
        if rank - query.after >= SCANNED_MAX:
            return found, rank


async def _wanted(link: Link, skill: str) -> list[str] | None:
    """Names that match; None: all."""
    if skill in ("", "*"):
        return None
    if not _PATTERN.intersection(skill):
        return [skill]
    return [row[0] for row in await link.fetch(_NAMES) if fnmatch.fnmatchcase(row[0], skill)]


class _Fitting:
    """Which nodes keep all constraints; each is read once for a question."""

    def __init__(self, link: Link, constraints: tuple[Constraint, ...]) -> None:
        self._link, self._constraints = link, constraints
        self._judged: dict[str, bool] = {}

    async def look_at(self, names: Sequence[str]) -> None:
        fresh = sorted({name for name in names if name not in self._judged})
        if not self._constraints or not fresh:
            return
        rows = await self._link.fetch(_NODES, fresh)
        self._judged.update(dict.fromkeys(fresh, False))
        for name in await asyncio.to_thread(_fit, rows, self._constraints):
            self._judged[name] = True

    def fits(self, name: str) -> bool:
        return not self._constraints or self._judged[name]


def _fit(rows: Sequence[Record], constraints: tuple[Constraint, ...]) -> list[str]:
    nodes = [row_of(LAYOUTS["nodes"], row) for row in rows]
    return [row.name for row in nodes if isinstance(row, NodeRow) and not unfit(constraints, row.attributes)]


def _offer(row: Record) -> OfferRow:
    offer = row_of(LAYOUTS["skills"], row)
    assert isinstance(offer, OfferRow), "the table holds nothing else"
    return offer
