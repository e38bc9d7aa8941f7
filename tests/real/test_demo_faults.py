"""Faults in what the nodes themselves keep and say: each makes the demo fail by the claim it breaks."""

from pathlib import Path

import pytest

from tests.real.demo_kit import notices

pytestmark = pytest.mark.real

NOTICED = {
    "forged-record": "nobody believes it, every lie is counted",
    "drop-documents": "all documents are equal, every acknowledged write is there",
    "lost-write": "delta's journal holds every acknowledged write",
    "skip-event": "its history is what the four journals hold",
}


@pytest.mark.parametrize("fault", NOTICED)
def test_a_planted_fault_makes_the_demo_fail_by_the_claim_it_breaks(fault: str, tmp_path: Path) -> None:
    notices(tmp_path / fault, fault, NOTICED[fault])
