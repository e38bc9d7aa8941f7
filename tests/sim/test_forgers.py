"""A member who forges documents in every way he can: nobody holds what he made up, and where one check is missing it
is noticed. Longer runs: ``python -m meshnode.sim.forgers --steps 1000000``."""

import pytest

from meshnode.crdt import generations
from meshnode.crdt.gate import Gate
from meshnode.sim.forgers import ForgerRun
from tests.faults.planted import Gullible
from tests.sim.luck import noticed_by_some_seed


def test_nobody_holds_what_a_forger_made_up() -> None:
    forged = ForgerRun(1, nodes=4).play()
    assert not forged.why, forged.why
    assert forged.lies > 300
    assert forged.generations >= 3
    assert {"rejected-bad-signature", "rejected-denied"} <= set(forged.refused)


def no_signatures(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Gate, "_verifier", property(lambda _: Gullible(), lambda *_: None), raising=False)


def no_proofs(patch: pytest.MonkeyPatch) -> None:
    """Roots are believed, whatever they say."""
    patch.setattr(generations, "judge_proofs", lambda _: [])
    patch.setattr(generations.Generations, "_is_believed", lambda *_: True)
    patch.setattr(generations.Generations, "_judge_rollback", lambda *_: None)


def no_policy(patch: pytest.MonkeyPatch) -> None:
    patch.setattr(Gate, "_judge_policy", lambda *_: None)


@pytest.mark.parametrize("plant", [no_signatures, no_proofs, no_policy])
def test_a_check_that_is_missing_is_noticed(plant: object, monkeypatch: pytest.MonkeyPatch) -> None:
    assert callable(plant)
    plant(monkeypatch)

    def notices(seed: int) -> bool:
        return ForgerRun(seed, nodes=4).play().why.startswith("KeptWrites: ")

    assert noticed_by_some_seed(notices, first=1)
