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

# Up to so many candidates are fetched and sorted; more are walked over in the order of their rank.
_SORTED_MAX = 2_000
_NODES_MAX = 150

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
        region = ' AND "region"=?' if query.region else ""
        params = [query.region] if query.region else []
        if fit is not None and len(fit) <= _NODES_MAX:
            return iter(_sorted(connection, "node", sorted(fit), region, params))
        count = sum(self._tallies.having("skills", "skill", skill) or 0 for skill in skills)
        if count <= _SORTED_MAX:
            return iter(_sorted(connection, "skill", sorted(skills), region, params))
        if len(skills) == 1:
            where, index, params = f'"skill"=?{region}', "rank", [*skills, *params]
        else:
            where, index = f"TRUE{region}", "nearest"
        return connection.execute(
            f'SELECT rank, no, "node", "skill" FROM skills INDEXED BY skills_{index} WHERE {where} ORDER BY rank, no',  # noqa: S608 - names of our own tables
            params,
        )


def _sorted(
    connection: sqlite3.Connection, column: str, values: Iterable[str], region: str, params: list[str]
) -> list[Candidate]:
    index = "rank" if column == "skill" else column
    text = f'SELECT rank, no, "node", "skill" FROM skills INDEXED BY skills_{index} WHERE "{column}"=?{region}'  # noqa: S608 - names of our own tables
    return sorted(row for value in values for row in connection.execute(text, (value, *params)))
