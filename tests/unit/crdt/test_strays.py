"""Writes that wait to be written again: what of them was carried is found in one pass over the document."""

from collections.abc import Mapping

from meshnode.crdt.history import Sealed
from meshnode.crdt.store import AutomergeStore
from meshnode.crdt.strays import Stray, not_here
from meshnode.model.ids import DocId
from tests.unit.crdt.test_generations import DOC, heal, late, store_of, work


class Counting(AutomergeStore):
    """How often all envelopes of a document were asked for."""

    asked = 0

    def beyond(self, doc: DocId, clock: Mapping[bytes, int]) -> list[Sealed]:
        self.asked += 1
        return super().beyond(doc, clock)


def test_what_was_carried_waits_no_more_and_the_envelopes_are_gone_over_once_for_all() -> None:
    mesh = late(store=Counting)
    mesh.put("c", "x", {"v": "c", "w": 2, "u": 3})
    work(mesh, "a", 10)
    mesh.run(20)
    heal(mesh)
    store = store_of(mesh.nodes["c"])
    assert isinstance(store, Counting)
    carried = [carry for sealed in store.beyond(DOC, {}) for carry in sealed.carried]
    assert len(carried) >= 2
    done = [Stray(each.key, "1", b"n", 1, 1, 1, each.origin, []) for each in carried]
    others = [Stray(each.key, "1", b"n", 1, 1, 1, bytes(32), []) for each in carried]
    others += [Stray("other", "1", b"n", 1, 1, 1, each.origin, []) for each in carried]
    store.asked = 0
    assert not_here(store, DOC, [*done, *others]) == others
    assert store.asked == 1
    assert not_here(store, DOC, []) == []
    assert store.asked == 1
