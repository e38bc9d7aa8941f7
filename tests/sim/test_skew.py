"""Older releases write documents whose newest field they do not know: it stays, or that is noticed."""

from dataclasses import replace

import pytest

from meshnode.crdt.kinds import Kinds
from meshnode.sim.faults import Fault, Kind
from meshnode.sim.run import Run
from meshnode.sim.scenarios import SCENARIOS
from meshnode.sim.workloads import Pace
from tests.sim.luck import noticed_by_some_seed

# Two of three run the older release for most of the time, and all write the same few documents.
SKEWED = replace(
    SCENARIOS["older-releases"], storm_s=30.0,
    plan=lambda luck, nodes: [Fault(Kind.DOWNGRADE, 2.0, 22.0, (1,)), Fault(Kind.DOWNGRADE, 6.0, 20.0, (2,))],
    pace=Pace(writes_per_s=4.0, calls_per_s=0.5, documents=2, skills=("words.count",), offers=1),
)  # fmt: skip


def test_what_an_older_release_does_not_know_stays() -> None:
    run = Run(SKEWED, seed=1, nodes=3)
    report = run.play()
    assert report.passed, report.violation
    assert run.skew.kept > 5


def test_a_release_that_removes_what_it_does_not_know_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Kinds, "may_remove", lambda *_: True)

    def notices(seed: int) -> bool:
        return Run(SKEWED, seed=seed, nodes=3).play().violation.startswith("KeepsUnknown: ")

    assert noticed_by_some_seed(notices, first=1)
