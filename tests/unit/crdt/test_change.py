"""The parser before the engine: reads what the engine writes, refuses by name whatever hurts it, in bounded time."""

import time
from collections.abc import Sequence

import pytest
from automerge.core import ROOT, Document, ObjType, ScalarType
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.crdt import change
from meshnode.crdt.change import Op
from meshnode.model.errors import RemoteError
from tests.unit.crdt import chunks

FIELDS: dict[str, str | None] = {"spec.replicas": "3", "updated_hlc": "77", "gone": None}


def refusal(data: bytes) -> str:
    with pytest.raises(RemoteError) as caught:
        change.parse(data)
    return caught.value.reason


def with_columns(**replaced: bytes) -> bytes:
    columns = chunks.columns_of(FIELDS)
    columns.update({int(number[1:], 16): data for number, data in replaced.items()})
    return chunks.chunk(chunks.body(dict(sorted(columns.items()))))


def test_a_hand_made_change_is_read_as_written() -> None:
    parsed = change.parse(chunks.change(FIELDS, seq=4, start_op=9))
    assert (parsed.actor, parsed.seq, parsed.start_op, parsed.max_op, parsed.deps) == (chunks.ACTOR, 4, 9, 11, ())
    assert parsed.ops == (
        Op(9, "spec.replicas", "3", ()),
        Op(10, "updated_hlc", "77", ()),
        Op(11, "gone", None, ()),
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.integers(0, 2),
            st.dictionaries(st.sampled_from("abcdef"), st.none() | st.text(max_size=400), min_size=1, max_size=6),
            st.booleans(),
        ),
        min_size=1,
        max_size=12,
    )
)
def test_every_change_the_engine_writes_is_read_as_the_engine_reads_it(
    script: Sequence[tuple[int, dict[str, str | None], bool]],
) -> None:
    replicas = [Document(bytes((number,)) * 16) for number in range(3)]
    for number, fields, merged in script:
        if merged:
            for other in (replicas[number - 1], replicas[number - 2]):
                replicas[number].merge(other)
        with replicas[number].transaction() as transaction:
            for key, value in fields.items():
                transaction.put(ROOT, key, ScalarType.Null if value is None else ScalarType.Str, value)
    for document in replicas:
        for made in document.get_changes([]):
            for carried in (bytes(made.bytes), bytes(made.raw_bytes)):
                parsed = change.parse(carried)
                assert (parsed.hash, parsed.actor, parsed.seq) == (made.hash, made.actor_id, made.seq)
                assert (list(parsed.deps), parsed.start_op, parsed.max_op) == (made.deps, made.start_op, made.max_op)
                assert parsed.plain == bytes(made.raw_bytes)
                assert len(parsed.ops) == len(made)


def test_replaced_writes_are_named_by_number_and_actor() -> None:
    a = Document(b"\1" * 16)
    with a.transaction() as transaction:
        transaction.put(ROOT, "k", ScalarType.Str, "1")
    b = a.fork()
    b.set_actor(b"\2" * 16)
    for document, value in ((a, "2"), (b, "3")):
        with document.transaction() as transaction:
            transaction.put(ROOT, "k", ScalarType.Str, value)
    a.merge(b)
    before = a.get_heads()
    with a.transaction() as transaction:
        transaction.put(ROOT, "k", ScalarType.Str, "4")
    (made,) = a.get_changes(before)
    (op,) = change.parse(bytes(made.bytes)).ops
    assert sorted(op.preds) == [(2, b"\1" * 16), (2, b"\2" * 16)]


def test_a_deflated_bomb_is_refused_before_it_is_inflated() -> None:
    plain = chunks.body(chunks.columns_of({"a": "x" * (16 << 20)}))
    bomb = chunks.chunk(plain, kind=2)
    assert len(bomb) < 32 * 1024
    started = time.perf_counter()
    assert refusal(bomb) == "change-inflate"
    assert time.perf_counter() - started < 1.0


def test_a_deflated_stream_that_is_torn_or_has_a_tail_is_refused() -> None:
    good = chunks.chunk(chunks.body(chunks.columns_of(FIELDS)), kind=2)
    assert change.parse(good).ops
    torn = good[:9] + chunks.uleb(len(good) - 12) + good[10:-2]
    assert refusal(torn) == "change-inflate"


@pytest.mark.parametrize("rows", [1025, 300_000, 1 << 40])
def test_a_run_of_more_rows_than_allowed_is_refused_without_making_them(rows: int) -> None:
    """104 bytes that claim 300,000 operations cost the engine three seconds."""
    started = time.perf_counter()
    nulls = {
        0x15: chunks.run(rows, chunks.text("k")),
        0x42: chunks.run(rows, chunks.uleb(1)),
        0x56: chunks.run(rows, b"\0"),
    }
    assert refusal(chunks.chunk(chunks.body(nulls))) == "change-ops-max"
    assert refusal(with_columns(x42=chunks.run(rows, chunks.uleb(1)))) == "change-ops-max"
    assert refusal(with_columns(x34=chunks.uleb(rows))) == "change-ops-max"
    assert time.perf_counter() - started < 0.5


def test_a_list_of_nulls_made_by_the_engine_is_refused() -> None:
    document = Document(b"\1" * 16)
    with document.transaction() as transaction:
        items = transaction.put_object(ROOT, "l", ObjType.List)
        for number in range(50):
            transaction.insert(items, number, ScalarType.Null, None)
    assert refusal(bytes(document.get_changes([])[0].bytes)) == "change-columns"


def test_a_run_of_replaced_writes_is_bounded() -> None:
    assert refusal(with_columns(x70=chunks.run(3, chunks.uleb(1 << 30)))) == "change-pred"
    assert refusal(with_columns(x70=chunks.run(3, chunks.uleb(1)))) == "change-pred"  # announced, not there


@pytest.mark.parametrize("kind", [1, 2, 3, 4, 5, 7, 8, 9, 10, 15])
def test_values_that_are_neither_text_nor_null_are_refused(kind: int) -> None:
    """8 is a counter, 10 and more are unknown: reading either panics for ever."""
    assert refusal(with_columns(x56=chunks.literals(chunks.uleb(1 << 4 | kind), b"\0", b"\0"))) == "change-value"


@pytest.mark.parametrize("action", [0, 2, 3, 4, 5, 6, 7, 200])
def test_actions_other_than_setting_are_refused(action: int) -> None:
    assert refusal(with_columns(x42=chunks.run(3, chunks.uleb(action)))) == "change-action"


def test_inserting_is_refused() -> None:
    assert refusal(with_columns(x34=chunks.uleb(0) + chunks.uleb(3))) == "change-action"


@pytest.mark.parametrize("column", [0x01, 0x02, 0x11, 0x13, 0x94, 0xA5, 0x1D])
def test_columns_of_other_objects_and_deflated_columns_are_refused(column: int) -> None:
    columns = dict(sorted({**chunks.columns_of(FIELDS), column: b"\x03\x01"}.items()))
    assert refusal(chunks.chunk(chunks.body(columns))) == "change-columns"


def test_an_empty_key_a_missing_key_and_one_key_twice_are_refused() -> None:
    assert refusal(with_columns(x15=chunks.literals(*map(chunks.text, ("", "b", "c"))))) == "change-key"
    assert refusal(with_columns(x15=b"\0\3")) == "change-key"
    assert refusal(with_columns(x15=chunks.run(3, chunks.text("same")))) == "change-key"
    assert refusal(chunks.chunk(chunks.body({}))) == "change-key"


def test_headers_no_replica_of_ours_writes_are_refused() -> None:
    for header in (
        {"seq": 0},
        {"start_op": 0},
        {"seq": 1 << 33},
        {"time": 1},
        {"message": b"m"},
        {"actor": b""},
        {"actor": b"a" * 15},
        {"others": [b"b" * 4]},
        {"others": [chunks.ACTOR]},
        {"deps": [b"d" * 32, b"d" * 32]},
    ):
        assert refusal(chunks.change(FIELDS, **header)) == "change-header", header
    assert refusal(chunks.change(FIELDS, actor=b"a" * 17)) == "change-header"


@pytest.mark.parametrize("kind", [0, 3, 255])
def test_document_chunks_and_unknown_chunks_are_refused(kind: int) -> None:
    assert refusal(chunks.chunk(chunks.body(chunks.columns_of(FIELDS)), kind=kind)) == "change-frame"


def test_bytes_around_a_chunk_and_inside_it_are_refused() -> None:
    good = chunks.change(FIELDS)
    assert refusal(good + b"\0") == "change-frame"
    assert refusal(b"\0" + good) == "change-frame"
    assert refusal(good[:-1]) == "change-short"
    assert refusal(b"") == "change-short"
    assert refusal(chunks.chunk(chunks.body(chunks.columns_of(FIELDS), tail=b"x"))) == "change-columns"


def test_a_flipped_bit_is_a_wrong_checksum() -> None:
    good = bytearray(chunks.change(FIELDS))
    good[20] ^= 1
    assert refusal(bytes(good)) == "change-checksum"


def test_an_endless_number_is_refused() -> None:
    assert refusal(b"\x85\x6f\x4a\x83" + b"\0" * 4 + b"\1" + b"\xff" * 64) == "change-number"


def test_a_text_that_is_not_utf8_is_refused() -> None:
    assert (
        refusal(with_columns(x56=chunks.literals(chunks.uleb(1 << 4 | 6), b"\0", b"\0"), x57=b"\xff")) == "change-text"
    )


@settings(max_examples=400, deadline=None)
@given(st.binary(max_size=12), st.integers(0, 200), st.integers(0, 8), st.booleans())
def test_damaged_bodies_with_a_right_checksum_are_read_or_refused_by_name(
    junk: bytes, at: int, cut: int, deflated: bool
) -> None:
    plain = chunks.body(chunks.columns_of(FIELDS), deps=[b"d" * 32], others=[chunks.OTHER])
    at %= len(plain)
    damaged = plain[:at] + junk + plain[at + cut :]
    try:
        parsed = change.parse(chunks.chunk(damaged, kind=2 if deflated else 1))
    except RemoteError:
        return
    assert change.parse(parsed.plain) == parsed
