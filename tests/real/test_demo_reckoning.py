"""The demo's reckoning finds what is lost, doubled or invented, and nothing where all is well."""

import pytest

from tests.demo import reckoning
from tests.demo.ledger import Attempt, Line
from tests.demo.reckoning import Counted


def line(id_: str, n: int, slot: int, *, code: str = "") -> Line:
    return Line(id_, n, slot, 0.0, [Attempt("alpha", 0.0, 0.1, code, node="beta", durability="replicated(1)")])


LINES = [line("a", 1, 0), line("b", 2, 1), line("c", 4, 1), line("d", 8, 0, code="timeout")]
WELL = {0: Counted(1, {"a": 1}), 1: Counted(6, {"b": 2, "c": 4})}


def test_where_all_is_well_nothing_is_found() -> None:
    assert reckoning.lost(LINES, WELL) == []
    assert reckoning.twice(LINES, WELL) == []


def test_an_unknown_reading_may_be_there_or_not() -> None:
    assert reckoning.twice(LINES, {**WELL, 0: Counted(9, {"a": 1, "d": 8})}) == []


@pytest.mark.parametrize("unit", [Counted(2, {"b": 2}), Counted(7, {"b": 2, "c": 5}), Counted(0, {})])
def test_an_acknowledged_reading_that_is_gone_or_has_another_amount_is_lost(unit: Counted) -> None:
    found = reckoning.lost(LINES, {**WELL, 1: unit})
    assert any(text.startswith("c of meter/1") for text in found)


@pytest.mark.parametrize(
    ("units", "words"),
    [
        ({**WELL, 1: Counted(10, {"b": 2, "c": 4})}, "meter/1 has 10, its 2 readings add up to 6"),
        ({0: Counted(3, {"a": 1, "b": 2}), 1: WELL[1]}, "b is in meter/0 and in meter/1"),
        ({**WELL, 0: Counted(4, {"a": 1, "x": 3})}, "x with 3 was never sent"),
    ],
)
def test_what_is_counted_twice_or_by_nobody_is_found(units: dict[int, Counted], words: str) -> None:
    assert words in reckoning.twice(LINES, units)


def test_a_reading_of_a_unit_that_was_not_read_is_not_called_lost() -> None:
    assert reckoning.lost(LINES, {0: WELL[0]}) == []
