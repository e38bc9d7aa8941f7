"""The oracle of writes over generations: a removal counts as kept only where it can be seen."""

import pytest

from meshnode.crdt import folding
from meshnode.crdt.envelope import doc_id_of
from meshnode.sim.lineage import Lineage
from tests.unit.crdt.ports import Mesh

DOC = doc_id_of("Thing", "default", "x")


@pytest.mark.parametrize("is_named", [True, False])
def test_a_removal_is_accounted_for_only_if_the_root_that_has_seen_it_names_it(
    is_named: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    mesh, lineage = Mesh("a"), Lineage()
    store = mesh.nodes["a"].documents._store
    change = b""
    for fields in ({"v": 1, "w": 1}, {"v": 1}):
        mesh.put("a", "x", fields)
        change = store.beyond(DOC, {})[-1].id
        lineage.wrote(store, DOC, change)
    (removal,) = lineage.names(DOC, change)
    assert removal[1] == "w"
    assert removal in lineage.accounted(store, DOC)
    if not is_named:
        monkeypatch.setattr(folding, "_remembered", lambda *_: {})
    store.adopt(store.fold(DOC, store.heads(DOC)))
    assert (removal in lineage.accounted(store, DOC)) == is_named
