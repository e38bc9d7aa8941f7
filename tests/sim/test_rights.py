"""Roles are taken and given back while the mesh is cut and machines crash: verdicts are the same everywhere once it is
whole again. Longer runs: ``python -m meshnode.sim.rights --seeds 100``."""

import pytest

from meshnode.node.policies import Policies
from meshnode.sim.rights import RightsRun
from tests.sim.luck import noticed_by_some_seed


@pytest.mark.parametrize(("seed", "conflicts"), [(1, 0), (3, 1)])
def test_verdicts_are_the_same_everywhere_and_nothing_acknowledged_is_missing(seed: int, conflicts: int) -> None:
    judged = RightsRun(seed).judged()
    assert not judged.why, judged.why
    assert judged.policies > 10
    assert judged.denied > 0
    assert judged.conflicts >= conflicts  # what two admins wrote about one member at once


def test_a_node_that_hears_of_no_policy_after_the_first_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    changed = Policies.changed

    def notices(seed: int) -> bool:
        run = RightsRun(seed)
        deaf = run.world[3]
        monkeypatch.setattr(
            Policies, "changed",
            lambda self, fact: None if deaf.core is not None and self is deaf.core.policies else changed(self, fact),
        )  # fmt: skip
        return run.judged().why.startswith("SameAuthority: ")

    assert noticed_by_some_seed(notices, first=1)
