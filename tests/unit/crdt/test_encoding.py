"""Changes written without the engine: what the engine writes, byte for byte, and what it cannot write."""

from random import Random

from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.crdt import change
from meshnode.crdt.encoding import Setting, packed, written
from meshnode.crdt.envelope import doc_id_of
from meshnode.crdt.guard import Engine
from meshnode.crdt.replica import DocumentsConfig
from meshnode.crdt.store import AutomergeStore
from meshnode.crdt.writing import change_of
from tests.unit.crdt.ports import Mesh

A, B = b"\x01" * 16, b"\x02" * 16
FIELDS = st.dictionaries(
    st.text(st.characters(codec="utf-8"), min_size=1, max_size=8),
    st.none() | st.text(max_size=90),
    min_size=1,
    max_size=9,
)


@settings(max_examples=200, deadline=None)
@given(FIELDS, FIELDS)
def test_a_chunk_is_what_the_engine_would_have_written(
    first: dict[str, str | None], second: dict[str, str | None]
) -> None:
    def of(fields: dict[str, str | None], replaced: change.ParsedChange | None) -> list[Setting]:
        before = {op.key: ((op.counter, replaced.actor),) for op in replaced.ops} if replaced else {}
        return [Setting(key, fields[key], before.get(key, ())) for key in sorted(fields, key=str.encode)]

    engine = Engine()
    one = written(A, 1, 1, (), of(first, None))
    assert change.parse(packed(one)) == one
    assert one.plain == change.parse(engine.draft(A, first)).plain
    engine.apply([one], first)
    fresh = {key: value for key, value in second.items() if key not in first or first[key] != value}
    if fresh:
        two = written(B, 1, one.max_op + 1, [one.hash], of(fresh, one))
        assert change.parse(packed(two)) == two
        assert two.plain == change.parse(engine.draft(B, fresh)).plain


def test_what_a_node_writes_is_what_the_engine_would_have_written_whatever_it_stands_on() -> None:
    """Conflicts included, and roots with layers."""
    rng, mesh = Random(5), Mesh("a", "b", "c", config=DocumentsConfig(generation_changes=9))
    for one, other in (("a", "b"), ("b", "c"), ("a", "c")):
        mesh.link(one, other)
    for number in range(150):
        name, node = (which := rng.choice("abc")), mesh.nodes[which]
        store = node.documents._store
        assert isinstance(store, AutomergeStore)
        doc = doc_id_of("Thing", "default", "x")
        fields: dict[str, str | None] = {rng.choice("klmn"): str(number), "updated_hlc": str(number)}
        ours = change_of(store, doc, A, fields)
        assert ours.plain == change.parse(store._engine(doc).draft(A, fields)).plain
        mesh.put(name, "x", {key: number for key in "klmn" if rng.random() < 0.7})
        if rng.random() < 0.5:
            mesh.settle()
            mesh.run(0.5)
    assert mesh.nodes["a"].documents.counters["re-rooted"] > 3


def test_a_write_may_replace_one_sibling_and_leave_the_other() -> None:
    """What the engine's own transactions cannot say, and a rebase must."""
    one, other = (written(actor, 1, 1, (), [Setting("k", value)]) for actor, value in ((A, "1"), (B, "2")))
    engine = Engine([one.plain, other.plain])
    third = written(A, 2, 2, [one.hash, other.hash], [Setting("k", "3", ((1, A),))])
    engine.apply([third], {"k": "3"})
    fourth = written(A, 3, 3, [third.hash], [Setting("k", None, ((2, A),))])
    engine.apply([fourth], {"k": None})
    assert engine.heads() == (fourth.hash,)
