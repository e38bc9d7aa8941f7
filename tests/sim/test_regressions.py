"""Seeds that once failed, by what they found."""

from meshnode.sim.run import Run
from meshnode.sim.scenarios import SCENARIOS


def test_an_acknowledged_write_brings_to_the_disk_what_it_stands_on() -> None:
    report = Run(SCENARIOS["slow-and-torn-disks"], seed=7, nodes=6).play()
    assert report.passed, report.violation


def test_a_node_that_said_goodbye_does_not_spin() -> None:
    report = Run(SCENARIOS["everything"], seed=1, nodes=5).play()
    assert report.passed, report.violation
