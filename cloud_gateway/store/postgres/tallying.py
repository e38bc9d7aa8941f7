"""Counts that the database keeps in step itself, by triggers over the rows that a statement changed.

A tally ``(what, a, b)`` is how many rows have these values: ``units`` by region and state, ``trouble`` by node,
``agents`` and ``skills`` by name. One at zero is swept away later.
"""

from collections.abc import Mapping
from typing import NamedTuple

from cloud_gateway.store.postgres.wire import SCHEMA
from cloud_gateway.store.tallies import WELL

UNWELL = "state NOT IN (" + ", ".join(f"'{state}'" for state in sorted(WELL)) + ")"
SWEEP = "DELETE FROM tallies WHERE n = 0"
TABLE = """
CREATE TABLE tallies (
    what TEXT COLLATE "C" NOT NULL, a TEXT COLLATE "C" NOT NULL, b TEXT COLLATE "C" NOT NULL, n BIGINT NOT NULL,
    PRIMARY KEY (what, a, b)
) WITH (fillfactor = 50)"""


class _Tally(NamedTuple):
    what: str
    a: str
    b: str = "''"
    where: str = "TRUE"


_TALLIES: Mapping[str, tuple[_Tally, ...]] = {
    "instances": (
        _Tally("units", "region", "state"),
        _Tally("agents", "agent"),
        _Tally("trouble", "node", where=UNWELL),
    ),
    "skills": (_Tally("skills", "skill"),),
}
_SIDES: Mapping[str, Mapping[str, int]] = {
    "INSERT": {"new": 1},
    "UPDATE": {"new": 1, "old": -1},
    "DELETE": {"old": -1},
}


def statements() -> list[str]:
    """The table, and for each counted table and kind of change a function and its trigger."""
    made = [TABLE]
    for table, tallies in _TALLIES.items():
        for change, sides in _SIDES.items():
            made += _trigger(table, tallies, change, sides)
    return made


def _trigger(table: str, tallies: tuple[_Tally, ...], change: str, sides: Mapping[str, int]) -> list[str]:
    moved = " UNION ALL ".join(
        f"SELECT '{tally.what}', {tally.a}, {tally.b}, {sign} FROM {side}_rows WHERE {tally.where}"  # noqa: S608 - ours
        for tally in tallies
        for side, sign in sides.items()
    )
    name = f"tally_{table}_{change.lower()}"
    named = " ".join(f"{side.upper()} TABLE AS {side}_rows" for side in sides)
    body = (
        f"INSERT INTO tallies AS t SELECT what, a, b, sum(n) FROM ({moved}) AS moved (what, a, b, n) "  # noqa: S608 - ours
        "GROUP BY what, a, b HAVING sum(n) <> 0 ORDER BY what, a, b "
        "ON CONFLICT (what, a, b) DO UPDATE SET n = t.n + excluded.n"
    )
    function = (
        f"CREATE FUNCTION {name}() RETURNS trigger LANGUAGE plpgsql SET search_path = {SCHEMA} "
        f"AS $$ BEGIN {body}; RETURN NULL; END $$"
    )
    trigger = (
        f"CREATE TRIGGER {name} AFTER {change} ON {table} REFERENCING {named} "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {name}()"
    )
    return [function, trigger]
