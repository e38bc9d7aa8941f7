"""Changes written without the engine: what the engine writes, byte for byte, and what it cannot write."""

import json
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.crdt import change
from meshnode.crdt.encoding import Setting, packed, written
from meshnode.crdt.envelope import doc_id_of
from meshnode.crdt.fields import VALUE_BYTES_MAX, JsonValue, flat
from meshnode.crdt.guard import Engine
from meshnode.crdt.replica import DocumentsConfig
from meshnode.crdt.store import AutomergeStore
from meshnode.crdt.writing import change_of
from meshnode.model.errors import Invalid
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


SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text() | st.text(st.characters(max_codepoint=127))
INSIDE = st.recursive(
    SCALARS | TEXTS,
    lambda each: st.lists(each, max_size=3) | st.dictionaries(st.text(max_size=3), each, max_size=3),
    max_leaves=6,
)


@given(st.dictionaries(st.sampled_from(["a", "b.c", "spec"]), INSIDE))
def test_a_stored_text_is_what_a_writer_of_json_says_and_a_name_what_joins_it_to_its_root(
    fields: dict[str, JsonValue],
) -> None:
    expected: dict[str, str] = {}
    for name, value in fields.items():
        inner = value if isinstance(value, dict) and "." not in name else None
        rows = {name: value} if inner is None else {f"{name}.{key}": each for key, each in inner.items()}
        for key, each in rows.items():
            expected[key] = json.dumps(each, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    try:
        sizes = [len(text.encode()) for text in expected.values()]
    except UnicodeEncodeError:
        sizes = []
    if len(sizes) == len(expected) and all(key.isprintable() for key in expected):
        assert flat(fields) == expected
    else:
        with pytest.raises(Invalid):
            flat(fields)


def test_a_text_too_long_for_a_field_is_refused_however_it_is_spelt() -> None:
    for text in ("x" * VALUE_BYTES_MAX, "\n" * (VALUE_BYTES_MAX // 2), "\x01" * (VALUE_BYTES_MAX // 6 + 1)):
        with pytest.raises(Invalid):
            flat({"field": text})
    assert len(flat({"field": "x" * (VALUE_BYTES_MAX - 2)})["field"]) == VALUE_BYTES_MAX
