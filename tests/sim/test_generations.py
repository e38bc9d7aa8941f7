"""Documents over generations on whole nodes: nothing acknowledged is lost, and each way to lose it is noticed."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from meshnode.crdt import folding
from meshnode.crdt.config import DocumentsConfig
from meshnode.crdt.generations import Generations
from meshnode.crdt.registers import Registers
from meshnode.sim.faults import Fault, Kind
from meshnode.sim.run import Run
from meshnode.sim.scenario import Scenario
from meshnode.sim.scenarios import SCENARIOS
from meshnode.sim.workloads import Pace
from meshnode.sim.writes import KeptWrites
from tests.sim.luck import noticed_by_some_seed

NODES = 4
CUTS = SCENARIOS["re-roots-in-cuts"]
# Little is written, and cuts end all the time: fields have several values when a generation ends.
MEETING = replace(
    CUTS, plan=lambda luck, nodes: [Fault(Kind.CUT, 3.0 + 7.0 * n, 5.0, (0, 1)) for n in range(5)], kinds=(Kind.CUT,),
    pace=Pace(writes_per_s=2.0, calls_per_s=0.2, documents=2, skills=("words.count",), offers=1),
    documents=DocumentsConfig(generation_changes=8),
)  # fmt: skip
Plant = Callable[[pytest.MonkeyPatch], None]


def test_generations_of_the_real_length_begin_on_both_sides_of_a_cut() -> None:
    hot = Pace(writes_per_s=40.0, calls_per_s=0.2, documents=1, skills=("words.count",), offers=1)
    scenario = replace(CUTS, pace=hot, documents=DocumentsConfig())
    report = Run(scenario, seed=4, nodes=3).play()
    assert report.passed, report.violation
    assert report.generations >= 2
    assert report.writes > 600


def no_strays(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Generations, "_strays_under", lambda self, doc, rooted: [])


def one_value(patch: pytest.MonkeyPatch) -> None:
    distinct = folding._distinct
    patch.setattr(folding, "_distinct", lambda writes: distinct(writes)[:1])


def keeps_no_root(patch: pytest.MonkeyPatch) -> None:
    """The envelopes of the old generation leave the journal, and the root is not in it."""
    patch.setattr(Generations, "records", lambda self, doc: ())


def replaces_all(patch: pytest.MonkeyPatch) -> None:
    """A write that arrives replaces what its writer had not seen."""
    fresh = Registers.fresh
    patch.setattr(Registers, "fresh", lambda self, *said: {k: writes[:1] for k, writes in fresh(self, *said).items()})


def forgets_removals(patch: pytest.MonkeyPatch) -> None:
    """A root says nothing of what was removed: the root of another cut brings it back."""
    patch.setattr(folding, "_remembered", lambda *_: {})


@pytest.mark.parametrize(
    ("plant", "scenario"),
    [(no_strays, CUTS), (one_value, MEETING), (replaces_all, CUTS), (keeps_no_root, CUTS), (forgets_removals, CUTS)],
)
def test_writes_that_get_lost_over_generations_are_noticed(
    plant: Plant, scenario: Scenario, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch)

    def notices(seed: int) -> bool:
        return Run(scenario, seed=seed, nodes=NODES, judges=[KeptWrites]).play().violation.startswith("KeptWrites: ")

    assert noticed_by_some_seed(notices, first=0)


def test_nodes_that_stay_in_their_own_generation_are_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each side of a cut keeps the root it made: the digests never become equal."""
    monkeypatch.setattr(Generations, "judge", lambda self, item, now: None)

    def notices(seed: int) -> bool:
        violation = Run(replace(CUTS, settle_s=15.0), seed=seed, nodes=NODES).play().violation
        return violation.startswith("Liveness: ") and "documents: " in violation

    assert noticed_by_some_seed(notices, first=2)
