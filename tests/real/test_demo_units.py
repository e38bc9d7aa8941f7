"""Faults in what becomes of agents and of what they count: each makes the demo fail by the claim it breaks."""

from pathlib import Path

import pytest

from tests.real.demo_kit import notices

pytestmark = pytest.mark.real

# Where it is not the holder of the newest copy who takes a unit over, that opens an older one and merges: seldom.
TAKEN_OVER = "the others take over delta's meters, with every acknowledged reading"
NOTICED = {
    "double-count": ["none is counted twice: every total is the sum of its readings"],
    "lose-ack": ["its files hold every reading that it acknowledged"],
    "stale-restore": ["its agents answer, state intact", TAKEN_OVER],
    "two-owners": ["exactly the wanted units, none twice"],
    "drop-merge": ["every acknowledged reading is there, say all nodes", TAKEN_OVER],
}


@pytest.mark.parametrize("fault", NOTICED)
def test_a_planted_fault_makes_the_demo_fail_by_the_claim_it_breaks(fault: str, tmp_path: Path) -> None:
    notices(tmp_path / fault, fault, *NOTICED[fault])
