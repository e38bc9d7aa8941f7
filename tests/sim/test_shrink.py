"""A failing run is left with the faults that make it fail, and the command to play it again with those."""

from collections.abc import Sequence
from dataclasses import replace

from meshnode.kernel.rng import Random
from meshnode.sim.faults import Fault, Kind
from meshnode.sim.run import Run
from meshnode.sim.shrink import shrink
from tests.sim.test_checkers import CALM


def test_what_has_no_part_in_a_failure_is_left_out() -> None:
    tried: list[Sequence[int]] = []

    def fails(only: Sequence[int]) -> bool:
        tried.append(only)
        return {3, 11} <= set(only)

    assert shrink(range(40), fails) == [3, 11]
    assert len(tried) < 60


def test_a_failure_without_any_fault_needs_none() -> None:
    assert shrink(range(7), lambda only: True) == []


def test_a_failure_that_needs_all_keeps_all() -> None:
    assert shrink(range(5), lambda only: len(only) == 5) == [0, 1, 2, 3, 4]


def test_a_run_can_be_played_with_some_of_its_faults() -> None:
    blips = [Fault(Kind.BLIP, 2.0 + number, 0.0, (number % 3,)) for number in range(3)]

    def plan(_luck: Random, _nodes: int) -> list[Fault]:
        return blips

    stormy = replace(CALM, plan=plan)
    assert Run(stormy, seed=5, nodes=3, only=[1]).plan == [blips[1]]
