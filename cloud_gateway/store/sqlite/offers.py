"""Who offers a skill, in order of rank, without walking over all offers."""

import fnmatch
import re
import sqlite3
from collections.abc import Iterable, Iterator, Sequence

from cloud_gateway.model.queries import SkillQuery
from cloud_gateway.model.rows import OfferRow
from cloud_gateway.store.fitness import Fitness
from cloud_gateway.store.sqlite.pages import Pages
from cloud_gateway.store.tallies import Tallies

# Microseconds a candidate, and what looking one node up costs beside.
_ROW_US, _NODE_US = 0.4, 3.0

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
            "skill": matching * _ROW_US,
            "walk": walked * _ROW_US * (1 if len(skills) == 1 else offers / max(matching, 1)),
        }
        if fit is not None:
            ways["node"] = len(fit) * (_NODE_US + offers / nodes * _ROW_US)
        match min(ways, key=lambda way: ways[way]):
            case "node":
                return iter(_sorted(connection, "node", sorted(fit or ()), query.region))
            case "skill":
                return iter(_sorted(connection, "skill", sorted(skills), query.region))
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


def _sorted(connection: sqlite3.Connection, column: str, values: Iterable[str], region: str) -> list[Candidate]:
    index = "rank" if column == "skill" else column
    text = (
        f'SELECT rank, no, "node", "skill" FROM skills INDEXED BY skills_{index}'  # noqa: S608 - names of our own tables
        f' WHERE "{column}"=?{_IN_REGION if region else ""}'
    )
    params = [region] if region else []
    return sorted(row for value in values for row in connection.execute(text, (value, *params)))
