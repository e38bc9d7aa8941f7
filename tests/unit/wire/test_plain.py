"""Headers that are cut and put together as bytes are what the encoder writes, and whatever else comes is left alone."""

import msgspec
from hypothesis import example, given
from hypothesis import strategies as st

from meshnode.wire import plain
from meshnode.wire.calls import CallHeader, ResultHeader, encoded_call, encoded_result

ID, OTHER = b"0123456789abcdef", b"fedcba9876543210"
texts = st.text(max_size=80)
TRACE = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"


def encode(value: object) -> bytes:
    match value:
        case CallHeader():
            return encoded_call(value)
        case ResultHeader():
            return encoded_result(value)
        case _:
            return msgspec.msgpack.encode(value)


@given(
    skill=texts, deadline_ms=st.integers(1, 2**32 - 1) | st.sampled_from((127, 128, 255, 256, 2**16)), agent=texts,
    caller=texts, trace=st.sampled_from(("", TRACE, "f" * 55)), raw=st.booleans(), as_bytes=st.booleans(),
)  # fmt: skip
def test_a_header_cut_and_put_together_again_is_the_one_that_is_encoded(
    skill: str, deadline_ms: int, agent: str, caller: str, trace: str, *, raw: bool, as_bytes: bool
) -> None:
    if len(encode(skill)) > 257:
        return
    header = CallHeader(ID, skill, deadline_ms, agent, caller, trace=trace, raw=raw, as_bytes=as_bytes)
    cut = plain.cut_call(encode(header))
    assert cut is not None
    way = plain.split(header)
    common, at, end, told_ms, told_trace = cut
    assert (common, told_ms, told_trace.decode()) == (b"".join(way), deadline_ms, trace)
    written = plain.call(OTHER, way, encode(header)[at:end], told_trace)
    assert written == encode(msgspec.structs.replace(header, call_id=OTHER))
    assert plain.as_written(header, encode(header)) and not plain.as_written(header, written)
    other = "0" * 55 if trace else ""
    again = plain.call(OTHER, way, plain.number(9), other.encode())
    assert again == encode(msgspec.structs.replace(header, call_id=OTHER, deadline_ms=9, trace=other))


@given(
    deadlines=st.tuples(st.integers(256, 2**16 - 1), st.integers(1, 2**17)), agents=st.tuples(texts, texts),
    callers=st.tuples(texts, texts), raws=st.tuples(st.booleans(), st.booleans()), same=st.booleans(),
)  # fmt: skip
def test_a_header_like_the_one_before_is_known_without_cutting_it(
    deadlines: tuple[int, int], agents: tuple[str, str], callers: tuple[str, str], raws: tuple[bool, bool], *,
    same: bool,
) -> None:  # fmt: skip
    one = encode(CallHeader(ID, "a.b", deadlines[0], agents[0], callers[0], raw=raws[0]))
    header = CallHeader(OTHER, "a.b", deadlines[1], agents[not same], callers[not same], raw=raws[not same])
    other, cut = encode(header), plain.cut_call(one)
    assert cut is not None
    alike = (header.agent, header.caller, header.raw) == (agents[0], callers[0], raws[0])
    like = alike and 256 <= deadlines[1] < 2**16
    assert plain.cut_like(other, one, cut[1], cut[2]) == (deadlines[1] if like else 0)
    assert not plain.cut_like(other[:-1], one, cut[1], cut[2]) and not plain.cut_like(
        b"\x00" + other[1:], one, *cut[1:3]
    )


@given(trace=st.text(max_size=60).filter(lambda text: bool(text) and not plain.is_trace(text)))
def test_a_trace_that_is_no_traceparent_is_part_of_what_calls_have_in_common(trace: str) -> None:
    header = CallHeader(ID, "words.count", 300, trace=trace)
    cut = plain.cut_call(encode(header))
    assert cut is None or (not cut[4] and encode(trace) in cut[0])


@given(deadline_ms=st.integers(-(2**31), 0) | st.integers(2**32, 2**63))
def test_a_deadline_that_is_past_or_never_is_left_to_the_slow_path(deadline_ms: int) -> None:
    assert plain.cut_call(encode(CallHeader(ID, "words.count", deadline_ms))) is None


@given(instance=texts, ran_us=st.integers(0, 2**64 - 1), took_us=st.integers(0, 2**62))
def test_a_plain_answer_tells_its_instance_and_is_written_as_the_encoder_does(
    instance: str, ran_us: int, took_us: int
) -> None:
    if len(encode(instance)) > 257:
        return
    told = plain.instance(encode(ResultHeader(ID, instance=instance, ran_us=ran_us)))
    assert told == plain.text(instance)
    assert plain.result(OTHER, told, took_us) == encode(ResultHeader(OTHER, instance=instance, ran_us=took_us))


@given(
    code=st.sampled_from(("", "timeout")), message=st.sampled_from(("", "why")),
    durability=st.sampled_from(("", "local")), version=st.integers(0, 1), replayed=st.booleans(),
    wait=st.integers(0, 1),
)  # fmt: skip
def test_an_answer_that_says_more_is_no_plain_one(
    code: str, message: str, durability: str, version: int, replayed: bool, wait: int
) -> None:
    header = ResultHeader(ID, code, message, "words/0", 7, durability, version, replayed, wait)
    says_more = bool(code or message or durability or version or replayed or wait)
    assert (plain.instance(encode(header)) is None) == says_more


@given(data=st.binary(max_size=64), at=st.integers(0, 80), more=st.binary(max_size=8))
@example(data=b"\x9d\xc4\x10" + ID, at=80, more=b"")
@example(data=b"\x9d\xc4\x10" + ID + b"\xd9", at=80, more=b"")
@example(data=b"\x99\xc4\x10" + ID + b"\xa0\xa0\xd9\xff\xa0\x00\xc2\x00", at=80, more=b"")
def test_junk_is_never_an_error_here(data: bytes, at: int, more: bytes) -> None:
    calls = [encode(CallHeader(ID, "a.b", 2_000, raw=raw)) for raw in (False, True)]
    for base in (data, *calls, encode(ResultHeader(ID, instance="a/0", ran_us=300))):
        for junk in (base[:at], base[:at] + more + base[at:]):
            plain.cut_call(junk)
            plain.instance(junk)


@given(
    names=st.tuples(texts, texts), more=st.sampled_from(({}, {}, {"code": "x"}, {"version": 1}, {"replayed": True})),
    ran_us=st.integers(0, 2**64 - 1) | st.sampled_from((0, 127, 128, 255, 256)), cut=st.integers(-9, 0),
    tail=st.binary(max_size=9),
)  # fmt: skip
def test_an_answer_says_as_another_one_exactly_where_it_tells_the_same_instance(
    names: tuple[str, str], more: dict[str, object], ran_us: int, cut: int, tail: bytes
) -> None:
    written = [plain.text(name) for name in names]
    if max(map(len, written)) > 257:
        return
    full = ResultHeader(ID, instance=names[0], ran_us=ran_us, **more)  # pyright: ignore[reportArgumentType]
    header = encode(full)[: cut or None] + tail
    for known in written:
        assert plain.says_as(header, plain.said(known)) == (plain.instance(header) == known)
