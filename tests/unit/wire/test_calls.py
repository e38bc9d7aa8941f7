"""Headers of calls as releases write them that know of bytes, for those that do not."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshnode.wire import plain
from meshnode.wire.calls import CallHeader, ResultHeader, encoded_call, encoded_result

FORMER_CALL, FORMER_RESULT = 13, 9  # fields


def _former(header: type[msgspec.Struct], fields: int) -> type[msgspec.Struct]:
    """As releases read it that do not know of bytes."""
    known = [(field.name, field.type) for field in msgspec.structs.fields(header)[:fields]]
    return msgspec.defstruct(header.__name__, known, array_like=True)


_FORMER_CALL, _FORMER_RESULT = _former(CallHeader, FORMER_CALL), _former(ResultHeader, FORMER_RESULT)
_VALUES: dict[type, st.SearchStrategy[Any]] = {
    bytes: st.binary(max_size=20), str: st.text(max_size=40), int: st.integers(-(2**63), 2**64 - 1), bool: st.booleans()
}  # fmt: skip


def _values(header: type[msgspec.Struct]) -> dict[str, st.SearchStrategy[Any]]:
    return {field.name: _VALUES[field.type] for field in msgspec.structs.fields(header)}


@given(header=st.builds(CallHeader, **_values(CallHeader)))
def test_a_call_that_says_nothing_of_bytes_is_written_as_before_and_any_is_read_as_it_was(header: CallHeader) -> None:
    says_more = header.raw or header.as_bytes
    data, whole = encoded_call(header), msgspec.msgpack.encode(header)
    assert msgspec.msgpack.decode(data) == msgspec.msgpack.decode(whole)[: None if says_more else FORMER_CALL]
    assert msgspec.msgpack.decode(data, type=CallHeader) == header
    former = msgspec.msgpack.decode(data, type=_FORMER_CALL)
    assert msgspec.structs.astuple(former) == msgspec.structs.astuple(header)[:FORMER_CALL]
    assert plain.as_written(header, data) and plain.as_written(header, whole) == says_more


@given(header=st.builds(ResultHeader, **_values(ResultHeader)))
def test_a_result_that_is_json_is_written_as_before_and_any_is_read_as_it_was(header: ResultHeader) -> None:
    data, whole = encoded_result(header), msgspec.msgpack.encode(header)
    assert msgspec.msgpack.decode(data) == msgspec.msgpack.decode(whole)[: None if header.raw else FORMER_RESULT]
    assert msgspec.msgpack.decode(data, type=ResultHeader) == header
    former = msgspec.msgpack.decode(data, type=_FORMER_RESULT)
    assert msgspec.structs.astuple(former) == msgspec.structs.astuple(header)[:FORMER_RESULT]
