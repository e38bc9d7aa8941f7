"""Faults in what becomes of agents and of what they count: each makes the demo fail by the claim it breaks."""

from pathlib import Path

import pytest

from tests.real.demo_kit import notices

pytestmark = pytest.mark.real

NOTICED = {
    "double-count": ["none is counted twice: every total is the sum of its readings"],
    "lose-ack": ["its files hold every reading that it acknowledged"],
    # Taking a unit over opens it, too: then it is noticed there, which is rare.
    "stale-restore": ["its agents answer, state intact", "the others take over delta's meters"],
    "two-owners": ["exactly the wanted units, none twice"],
    "drop-merge": ["every acknowledged reading is there, say all nodes"],
}


@pytest.mark.parametrize("fault", NOTICED)
def test_a_planted_fault_makes_the_demo_fail_by_the_claim_it_breaks(fault: str, tmp_path: Path) -> None:
    notices(tmp_path / fault, fault, *NOTICED[fault])
