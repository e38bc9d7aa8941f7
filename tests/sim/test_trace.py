"""One seed, one run, to the last byte: in every process, and in no other world."""

import os
import sys

import pytest

from meshnode.sim.run import Run
from meshnode.sim.scenarios import SCENARIOS
from tests.patience import finished


def played(*, seed: int = 7, nudge: int = 0, hash_seed: str = "0") -> list[str]:
    """What ``make sim`` prints, from a process of its own."""
    words = ["--seed", str(seed), "--nodes", "4", "--scenario", "everything", "--nudge", str(nudge)]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = finished([sys.executable, "-m", "meshnode.sim", *words], env=environment, within_s=200.0)
    assert not done.stderr, done.stderr
    return done.stdout.splitlines()


@pytest.fixture(scope="module")
def usual() -> list[str]:
    return played()


def test_the_last_line_is_the_trace(usual: list[str]) -> None:
    word, digest = usual[-1].split()
    assert word == "trace" and len(digest) == 32


@pytest.mark.parametrize("hash_seed", ["1", "4294967295"])
def test_the_trace_does_not_depend_on_the_hashes_of_a_process(usual: list[str], hash_seed: str) -> None:
    assert played(hash_seed=hash_seed) == usual


def test_another_seed_gives_another_trace(usual: list[str]) -> None:
    assert played(seed=8)[-1] != usual[-1]


def test_one_wire_longer_by_a_microsecond_gives_another_trace(usual: list[str]) -> None:
    assert played(nudge=1)[-1] != usual[-1]


def test_two_runs_in_one_process_do_not_know_of_each_other() -> None:
    first, second = (Run(SCENARIOS["two-nodes"], seed=3, nodes=2).play() for _ in range(2))
    assert first.trace == second.trace
    assert first.events == second.events


def test_looking_on_changes_nothing() -> None:
    lines: list[str] = []
    watched = Run(SCENARIOS["two-nodes"], seed=3, nodes=2, show=lines.append).play()
    unwatched = Run(SCENARIOS["two-nodes"], seed=3, nodes=2).play()
    assert watched.trace == unwatched.trace
    assert len(lines) > watched.inputs + watched.effects
