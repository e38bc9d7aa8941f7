"""The quick reader of changes and the full one say the same, and what the quick one takes the engine would take."""

import hashlib
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.crdt import change, usual
from meshnode.crdt.change import ParsedChange
from meshnode.crdt.encoding import Setting, packed, written
from meshnode.crdt.guard import Engine
from meshnode.model.errors import RemoteError
from tests.unit.crdt import chunks

A, B, C = b"\x01" * 16, b"\x02" * 16, b"\x03" * 16
KEYS = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6)
PREDS = st.lists(
    st.tuples(st.integers(1, 1 << 32), st.sampled_from((A, B, C))), max_size=3, unique=True
)  # fmt: skip
FIELDS = st.dictionaries(KEYS, st.tuples(st.none() | st.text(max_size=60), PREDS), min_size=1, max_size=9)


def made(fields: dict[str, tuple[str | None, list[tuple[int, bytes]]]], seq: int, deps: list[bytes]) -> ParsedChange:
    return written(
        A, seq, seq, deps, [Setting(key, value, tuple(sorted(preds))) for key, (value, preds) in fields.items()]
    )


def verdict(chunk: bytes, *, quickly: bool) -> ParsedChange | str:
    try:
        return usual.parse(chunk)[0] if quickly else change.parse(chunk)
    except RemoteError as error:
        return str(error)


def repaired(chunk: bytes) -> bytes:
    """With the checksum it should have, so that what stands behind it is looked at."""
    return chunk[:4] + hashlib.sha256(chunk[8:]).digest()[:4] + chunk[8:]


@settings(max_examples=200, deadline=None)
@given(FIELDS, st.integers(1, (1 << 32) - 1), st.lists(st.binary(min_size=32, max_size=32), max_size=3, unique=True))
def test_what_a_node_writes_is_usual_and_read_as_the_full_reader_reads_it(
    fields: dict[str, tuple[str | None, list[tuple[int, bytes]]]], seq: int, deps: list[bytes]
) -> None:
    one = made(fields, seq, deps)
    for chunk in (one.plain, packed(one)):
        expected = verdict(chunk, quickly=False)
        assert verdict(chunk, quickly=True) == expected
        if not isinstance(expected, str):
            assert usual.parse(chunk) == (one, True)


@settings(max_examples=600, deadline=None)
@given(FIELDS, st.data())
def test_of_any_bytes_both_readers_say_the_same(
    fields: dict[str, tuple[str | None, list[tuple[int, bytes]]]], data: st.DataObject
) -> None:
    chunk = bytearray(made(fields, 7, [A * 2]).plain)
    for _ in range(data.draw(st.integers(0, 3))):
        at = data.draw(st.integers(8, len(chunk) - 1))
        chunk[at] ^= data.draw(st.integers(1, 255))
    hostile = repaired(bytes(chunk))
    expected = verdict(hostile, quickly=False)
    assert verdict(hostile, quickly=True) == expected
    if not isinstance(expected, str):
        read, is_usual = usual.parse(hostile)
        again = [Setting(op.key, op.value, op.preds) for op in read.ops]
        rewritten = written(read.actor, read.seq, read.start_op, read.deps, again)
        assert not is_usual or rewritten.plain == read.plain


def test_a_change_in_another_form_is_read_and_not_called_usual() -> None:
    """Its length in two bytes where one would do."""
    one = written(A, 1, 1, (), [Setting("k", "1"), Setting("l", "2")])
    longer = one.plain[:9] + bytes((one.plain[9] | 0x80, 0)) + one.plain[10:]
    assert usual.parse(longer) == (one, False)


def respelt() -> dict[str, bytes]:
    """One change of two fields, with one column each in another of its spellings."""
    usual_columns = chunks.columns_of({"k": "1", "l": "23"})
    one, two = chunks.uleb(1 << 4 | 6), chunks.uleb(2 << 4 | 6)
    others = {
        0x15: chunks.run(1, chunks.text("k")) + chunks.run(1, chunks.text("l")),
        0x34: chunks.uleb(1) + chunks.uleb(0) + chunks.uleb(1),
        0x42: chunks.literals(chunks.uleb(1), chunks.uleb(1)),
        0x56: chunks.literals(one) + chunks.literals(two),
        0x70: chunks.literals(chunks.uleb(0), chunks.uleb(0)),
    }
    return {
        hex(number): chunks.chunk(
            chunks.body({key: value for key, value in (usual_columns | {number: data}).items() if value})
        )
        for number, data in others.items()
    }


@pytest.mark.parametrize("column", respelt())
def test_a_column_in_another_spelling_is_read_the_same_and_not_called_usual(column: str) -> None:
    """The engine is asked about such: what it would not write it may not read as we do."""
    chunk = respelt()[column]
    read, is_usual = usual.parse(chunk)
    assert (read.keys, read.values, read.preds) == (("k", "l"), ("1", "23"), ((), ()))
    assert read == change.parse(chunk)
    assert not is_usual


@pytest.mark.parametrize("raw", ["1234", "12", "", "123\u00e9"])
def test_values_that_are_longer_or_shorter_than_they_say_are_refused_by_both(raw: str) -> None:
    honest = chunks.columns_of({"k": "1", "l": "23"})
    assert usual.parse(chunks.chunk(chunks.body(honest)))[1]
    columns = honest | {0x57: raw.encode()}
    chunk = chunks.chunk(chunks.body({number: data for number, data in columns.items() if data}))
    assert verdict(chunk, quickly=True) == verdict(chunk, quickly=False)
    assert str(verdict(chunk, quickly=True)).startswith("change-")


def test_the_engine_takes_every_usual_change_that_fits_and_reads_the_same() -> None:
    rng = Random(11)
    for _ in range(40):
        chunks, current, heads, top = list[bytes](), dict[str, tuple[int, bytes]](), list[bytes](), 0
        values: dict[str, str | None] = {}
        seqs = dict.fromkeys((A, B, C), 0)
        for number in range(20):
            actor = rng.choice((A, B, C))
            seqs[actor] += 1
            keys = rng.sample("klmnop", rng.randint(1, 4))
            setting = [
                Setting(key, rng.choice((None, str(number))), (current[key],) if key in current else ()) for key in keys
            ]
            one = written(actor, seqs[actor], top + 1, heads, setting)
            read, is_usual = usual.parse(packed(one))
            assert (read, is_usual) == (one, True)
            chunks.append(one.plain)
            heads, top = [one.hash], one.max_op
            current.update({op.key: (op.counter, actor) for op in one.ops})
            values.update({op.key: op.value for op in one.ops})
        engine = Engine(chunks)
        assert list(engine.heads()) == heads
        assert {key: engine.value(key) for key in values} == values


def test_long_columns_are_not_remembered() -> None:
    """What is kept of columns has a bound in bytes, whatever a peer sends."""
    caches = (usual._shape_once, usual._unsigned_once, usual._deltas_once)
    before = [0] * len(caches)
    for number in range(4):
        if number == 1:  # the short ones that all of them have are known now, whoever ran before this test
            before = [each.cache_info().currsize for each in caches]
        fields = [Setting(f"spec.long/{number}/{row}", str(number), ((row + 1, B),)) for row in range(100)]
        assert usual.parse(packed(written(A, 1, 101, (), fields)))[1]
    assert [each.cache_info().currsize for each in caches] == before
