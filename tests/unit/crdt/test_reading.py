"""What a stored text reads as."""

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.crdt.change import ParsedChange
from meshnode.crdt.fields import JsonValue, canonical, is_canonical
from meshnode.crdt.gate import _is_canonical, _judge_values
from meshnode.crdt.reading import value_of
from meshnode.model.errors import RemoteError

LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text()
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3))
EDGES = (
    "0", "-0", "00", "7", "-7", "1.0", "1.50", "10.5", "0.5", "1e5", "1E5", "123456789.123456", "1234567890.5", "-1.25",
    '""', '"a"', '"\\u0061"', '"\\n"', '"\x7f"', '"\u2028"', '"', '"a', "true", "True", "null", "NaN", "Infinity", "٣",
    " 1", "1 ", "[]", "[ ]", '{"b":1,"a":2}', "9" * 18, "9" * 19, "9" * 40, "999999999.999999", "1.0000001",
)  # fmt: skip


@settings(max_examples=300)
@given(VALUES)
def test_every_value_reads_as_it_was_written(value: JsonValue) -> None:
    text = json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    assert canonical(value) == text
    read = value_of(text)
    assert read == json.loads(text) and type(read) is type(json.loads(text))


@pytest.mark.parametrize("text", EDGES)
def test_the_quick_verdict_about_a_text_is_the_full_one(text: str) -> None:
    assert _is_canonical(text) == is_canonical(text)


@settings(max_examples=600)
@given(st.text(st.sampled_from('0123456789.-+eE"\\ntrufalse []{},: \x01é'), max_size=9))
def test_the_quick_verdict_about_any_text_is_the_full_one(text: str) -> None:
    assert _is_canonical(text) == is_canonical(text)


TEXTS = st.sampled_from((*EDGES, "1\n2", '"a"\n', "\n", '"\n"', ""))


def are_canonical(texts: list[str | None]) -> bool:
    keys = tuple(f"k{number}" for number in range(len(texts)))
    try:
        _judge_values(ParsedChange(b"", b"", 1, 1, (), keys, tuple(texts), ((),) * len(texts), b""))
    except RemoteError:
        return False
    return True


@settings(max_examples=600)
@given(st.lists(st.none() | TEXTS | st.text(st.sampled_from('01."\\\n ae'), max_size=4), max_size=5))
def test_texts_that_are_asked_about_together_are_canonical_if_each_of_them_is(texts: list[str | None]) -> None:
    assert are_canonical(texts) == all(text is None or is_canonical(text) for text in texts)
