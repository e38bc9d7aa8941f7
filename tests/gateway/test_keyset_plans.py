"""Which way a list goes in SQLite: what a page costs must not grow with the fleet."""

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest

from cloud_gateway.model.listings import LISTINGS
from cloud_gateway.model.queries import Query, SkillQuery
from cloud_gateway.store.sqlite.pages import Pages
from cloud_gateway.store.sqlite.store import SqliteStore, open_sqlite
from tests.gateway.fleet import Fleet
from tests.gateway.store_suite import now_ms

STEPS_MAX = 400  # hundreds of instructions of SQLite's machine; walking over all 15,000 rows takes 600 and more


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SqliteStore]:
    path: Path = tmp_path_factory.mktemp("plans") / "gateway.db"

    async def fill() -> SqliteStore:
        store = await open_sqlite(str(path))
        for batch in Fleet(1_500, per_node=10, now_ms=now_ms()).batches():
            await store.commit(batch)
        return store

    with asyncio.Runner() as runner:
        store = runner.run(fill())
        yield store
        runner.run(store.close())


def steps(connection: sqlite3.Connection, pages: Pages, query: Query) -> int:
    """What a page costs, in hundreds of instructions: the same on every machine, however busy."""
    count = 0

    def step() -> int:
        nonlocal count
        count += 1
        return 0

    connection.set_progress_handler(step, 100)
    try:
        pages.listed(connection, query)
    finally:
        connection.set_progress_handler(None, 0)
    return count


@pytest.mark.parametrize("kind", ["instances", "skills"])
def test_a_page_without_filters_costs_little_in_every_order(filled: SqliteStore, kind: str) -> None:
    connection = filled._files.writer
    for sort in LISTINGS[kind].sorts:
        for sign in ("", "-"):
            query = Query(kind=kind, sort=sign + sort)
            assert steps(connection, filled._pages, query) < 60, query.sort
            later = filled._pages.listed(connection, query).after
            assert steps(connection, filled._pages, Query(kind=kind, sort=sign + sort, after=later)) < 80, query.sort


@pytest.mark.parametrize(
    "where",
    [
        {"agent": ["welder"]},
        {"region": ["kyoto"]},
        {"state": ["failed"]},
        {"state": ["running"]},
        {"agent": ["welder"], "region": ["kyoto"]},
        {"agent": ["welder"], "state": ["running"]},
        {"region": ["kyoto", "oslo"], "state": ["running", "failed"]},
    ],
)
def test_a_page_with_filters_never_walks_over_most_of_the_fleet(
    filled: SqliteStore, where: dict[str, list[str]]
) -> None:
    connection = filled._files.writer
    for sort in LISTINGS["instances"].sorts:
        for sign in ("", "-"):
            query = Query(kind="instances", where=where, sort=sign + sort)
            assert steps(connection, filled._pages, query) < STEPS_MAX, query


def test_the_measure_finds_a_walk_over_all(filled: SqliteStore) -> None:
    """The planted fault: a store that does not know how rare values are."""

    class Blind(Pages):
        def _best_filter(self, layout: object, query: object) -> tuple[float, str]:
            return (float("inf"), "")

    query = Query(kind="instances", where={"region": ["nowhere"]}, sort="instance")
    blind = Blind(filled._commits.tallies)
    assert steps(filled._files.writer, blind, query) > STEPS_MAX
    assert steps(filled._files.writer, filled._pages, query) < 20


def test_skills_are_ranked_the_same_along_every_way(filled: SqliteStore) -> None:
    """Whatever is cheapest, the answer is the same: by nodes, by skills, or walking in the order of rank."""
    connection, offers = filled._files.writer, filled._offers
    for skill in ("welder.run", "welder.*", "*"):
        for where in ("", "site=plant-7", "cpus>=16", "arch=x86_64"):
            whole, _ = offers.ranked(connection, SkillQuery(skill=skill, where=where, limit=500))
            for limit in (1, 20, 400):
                part, after = offers.ranked(connection, SkillQuery(skill=skill, where=where, limit=limit))
                assert [row.rtt_ms for row in part] == [row.rtt_ms for row in whole][:limit]
                assert after == (limit if len(whole) > limit else 0)
