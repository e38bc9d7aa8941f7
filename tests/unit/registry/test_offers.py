"""What nodes say about agents and skills fits into a soft fact, and junk says nothing."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshnode.registry.offers import (
    DESCRIPTION_CHARS_MAX,
    VALUE_BYTES_MAX,
    InstanceOffer,
    decode_instance,
    decode_skill,
    encode_instance,
    encode_skill,
)
from meshnode.wire.calls import SkillDescription

AGENT, INSTANCE = "a" * 63, f"{'a' * 63}/{'n' * 63}"
SMALL = '{"type":"object"}'
LARGE = '{"description":"' + "x" * 2_000 + '"}'


def described(description: str = "counts words", takes: str = SMALL, gives: str = SMALL) -> SkillDescription:
    return SkillDescription("words.count", description, takes, gives)


def test_a_small_skill_keeps_all_that_its_agent_said() -> None:
    offer = decode_skill(encode_skill("words", "words/bench", described()))
    assert offer is not None
    assert (offer.agent, offer.instance) == ("words", "words/bench")
    assert (offer.description, offer.input_schema, offer.output_schema) == ("counts words", SMALL, SMALL)


def test_the_schema_of_the_result_goes_before_the_schema_of_the_arguments() -> None:
    offer = decode_skill(encode_skill("words", "words/bench", described(gives=LARGE)))
    assert offer is not None
    assert (offer.description, offer.input_schema, offer.output_schema) == ("counts words", SMALL, "")


def test_schemas_go_before_the_description() -> None:
    offer = decode_skill(encode_skill("words", "words/bench", described(takes=LARGE)))
    assert offer is not None
    assert (offer.description, offer.input_schema, offer.output_schema) == ("counts words", "", "")


@given(st.text(max_size=4_000), st.text(max_size=3_000), st.text(max_size=3_000))
def test_whatever_an_agent_describes_fits_and_keeps_its_names(description: str, takes: str, gives: str) -> None:
    value = encode_skill(AGENT, INSTANCE, described(description, takes, gives))
    assert len(value) <= VALUE_BYTES_MAX
    offer = decode_skill(value)
    assert offer is not None
    assert (offer.agent, offer.instance) == (AGENT, INSTANCE)


@given(st.text(max_size=2_000))
def test_whatever_reason_an_instance_has_fits(reason: str) -> None:
    value = encode_instance(InstanceOffer(INSTANCE, "backoff", reason, 7, 4_194_304))
    assert len(value) <= VALUE_BYTES_MAX
    assert decode_instance(value) == InstanceOffer(INSTANCE, "backoff", reason[:DESCRIPTION_CHARS_MAX], 7, 4_194_304)


@given(st.binary(max_size=64))
def test_junk_never_raises(value: bytes) -> None:
    decode_skill(value)
    decode_instance(value)


def test_text_that_is_no_utf8_says_nothing() -> None:
    packed = msgspec.msgpack.encode(("words", "words/bench"))
    assert decode_skill(packed) is not None
    assert decode_skill(packed.replace(b"bench", b"ben\xff\xfe")) is None
    assert decode_instance(packed.replace(b"bench", b"ben\xff\xfe")) is None


def test_fields_of_a_later_version_are_passed_over() -> None:
    offer = decode_instance(msgspec.msgpack.encode(("words/bench", "running", "", 0, 12, "later", 13)))
    assert offer == InstanceOffer("words/bench", "running", "", 0, 12)
