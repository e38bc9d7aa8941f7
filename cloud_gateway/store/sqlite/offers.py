"""Who offers a skill, in order of rank, without walking over all offers."""

import fnmatch
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from cloud_gateway.model.queries import SkillQuery
from cloud_gateway.model.rows import OfferRow
from cloud_gateway.store.fitness import Fitness
from cloud_gateway.store.sqlite.pages import Pages
from cloud_gateway.store.tallies import Tallies

# Microseconds a candidate: where SQLite chooses, where we look at each; and what looking up one node costs beside.
_ROW_US, _SEEN_US, _NODE_US = 0.4, 1.0, 3.0

_IN_REGION = ' AND "region"=?'
Candidate = tuple[float, int, str, str]  # rank, number of the row, node, skill


class Offers:
    """Answers ``Store.skills``."""

    def __init__(self, tallies: Tallies, fitness: Fitness, pages: Pages) -> None:
        self._tallies, self._fitness, self._pages = tallies, fitness, pages

    def ranked(self, connection: sqlite3.Connection, query: SkillQuery) -> tuple[Sequence[OfferRow], int]:
        fit = self._fitness.fitting(query.where)
        skills = self._skills(query.skill)
        if not skills or (fit is not None and not fit):
            return [], 0
        found: list[int] = []
        place = 0
        for _, no, node, skill in self._candidates(connection, query, skills, fit):
            if skill not in skills or (fit is not None and node not in fit):
                continue
            place += 1
            if place <= query.after:
                continue
            if len(found) == query.limit:
                return self._rows(connection, found), query.after + query.limit
            found.append(no)
        return self._rows(connection, found), 0

    def _rows(self, connection: sqlite3.Connection, numbers: list[int]) -> list[OfferRow]:
        return [row for row in self._pages.rows_of(connection, "skills", numbers) if isinstance(row, OfferRow)]

    def _skills(self, asked: str) -> frozenset[str]:
        names = [str(name) for name in self._tallies.values("skills", "skill")]
        if not asked:
            return frozenset(names)
        if not any(sign in asked for sign in "*?["):
            return frozenset(name for name in (asked,) if self._tallies.having("skills", "skill", asked))
        pattern = re.compile(fnmatch.translate(asked))
        return frozenset(name for name in names if pattern.match(name))

    def _candidates(
        self, connection: sqlite3.Connection, query: SkillQuery, skills: frozenset[str], fit: frozenset[str] | None
    ) -> Iterator[Candidate]:
        """All that may fit, and some that do not, in order of rank; the cheapest way to a page of them."""
        offers, nodes = max(self._tallies.rows("skills"), 1), max(self._tallies.rows("nodes"), 1)
        matching = sum(self._tallies.having("skills", "skill", skill) or 0 for skill in skills)
        regions = max(len(self._tallies.values("skills", "region")), 1) if query.region else 1
        share = (min(len(fit), nodes) / nodes if fit is not None else 1.0) / regions
        walked = (query.after + query.limit) / max(share, 1 / offers)
        ways = {
            "skill": matching * _SEEN_US,
            "walk": walked * _SEEN_US * (1 if len(skills) == 1 else offers / max(matching, 1)),
        }
        if fit is not None:
            ways["node"] = len(fit) * (_NODE_US + offers / nodes * _ROW_US)
        match min(ways, key=lambda way: ways[way]):
            case "node":
                return _of_nodes(connection, fit or (), skills, query)
            case "skill":
                return _of_skills(connection, skills, query.region)
            case _:
                return _walked(connection, skills, query.region)


def _walked(connection: sqlite3.Connection, skills: frozenset[str], region: str) -> Iterator[Candidate]:
    where, index = ('"skill"=?', "rank") if len(skills) == 1 else ("TRUE", "nearest")
    params = [*(skills if len(skills) == 1 else ()), *([region] if region else ())]
    return connection.execute(
        f'SELECT rank, no, "node", "skill" FROM skills INDEXED BY skills_{index}'  # noqa: S608 - names of our own tables
        f" WHERE {where}{_IN_REGION if region else ''} ORDER BY rank",
        params,
    )


def _of_skills(connection: sqlite3.Connection, skills: Iterable[str], region: str) -> Iterator[Candidate]:
    text = (
        'SELECT rank, no, "node", "skill" FROM json_each(?) CROSS JOIN skills INDEXED BY skills_rank'  # noqa: S608 - names of our own tables
        f' ON "skill" = json_each.value {_IN_REGION if region else ""} ORDER BY rank'
    )
    return connection.execute(text, [_listed(skills), *([region] if region else [])])


def _of_nodes(
    connection: sqlite3.Connection, nodes: Iterable[str], skills: Iterable[str], query: SkillQuery
) -> Iterator[Candidate]:
    text = (
        'SELECT rank, no, "node", "skill" FROM json_each(?) CROSS JOIN skills INDEXED BY skills_node'  # noqa: S608 - names of our own tables
        f' ON "node" = json_each.value WHERE "skill" IN (SELECT value FROM json_each(?))'
        f" {_IN_REGION if query.region else ''} ORDER BY rank LIMIT {query.after + query.limit + 1}"
    )
    return connection.execute(text, [_listed(nodes), _listed(skills), *([query.region] if query.region else [])])


def _listed(names: Iterable[str]) -> str:
    return msgspec.json.encode(sorted(names)).decode()
