"""What nodes say about agents and skills fits into soft facts, and junk says nothing."""

from random import Random

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshnode.registry.offers import (
    DESCRIPTION_CHARS_MAX,
    PAGES_MAX,
    TAGS_MAX,
    VALUE_BYTES_MAX,
    UnitOffer,
    agent_key,
    decode_agent,
    decode_skill,
    encode_agent,
    encode_skill,
    skill_key,
)
from meshnode.wire.calls import SkillDescription

AGENT = "a" * 63
SMALL = '{"type":"object"}'
LARGE = '{"description":"' + "x" * 2_000 + '"}'
HOLDERS = (b"h" * 8, b"i" * 8)


def described(description: str = "counts words", takes: str = SMALL, gives: str = SMALL) -> SkillDescription:
    return SkillDescription("words.count", description, takes, gives, ["text", "fast"], streams=True, idempotent=True)


def read(pages: dict[str, bytes]) -> list[UnitOffer]:
    units: list[UnitOffer] = []
    for value in pages.values():
        assert len(value) <= VALUE_BYTES_MAX
        offer = decode_agent(value)
        assert offer is not None
        units += [unit for item in offer.ranges for unit in item.units()]
    return units


# -- units of an agent -------------------------------------------------------------------------------------------------


def test_one_unit_is_told_with_all_that_is_known_of_it() -> None:
    unit = UnitOffer(0, 1, "backoff", 7, "exit code 1", 3, 4_194_304, 41, HOLDERS[0])
    assert read(encode_agent([unit])) == [unit]


def test_neighbours_that_are_alike_are_one_row_whatever_their_order() -> None:
    units = [UnitOffer(slot, 1, "running", 1) for slot in range(1_000)]
    luck = Random(1)
    luck.shuffle(units)
    (value,) = encode_agent(units).values()
    assert len(value) < 40
    assert read({"": value}) == sorted(units, key=lambda unit: unit.first_slot)


def test_a_gap_between_slots_is_not_bridged() -> None:
    units = [UnitOffer(0, 1, "running", 1), UnitOffer(2, 1, "running", 1)]
    assert read(encode_agent(units)) == units


def test_pids_and_versions_go_before_a_second_page_is_needed() -> None:
    units = [UnitOffer(slot, 1, "running", 1, pid=10_000 + slot, version=slot) for slot in range(1_000)]
    pages = encode_agent(units)
    assert list(pages) == [""]
    assert read(pages) == [UnitOffer(slot, 1, "running", 1) for slot in range(1_000)]
    few = units[:5]
    assert read(encode_agent(few)) == few, "where they fit they are told"


def test_fifty_thousand_actors_in_fifty_units_are_one_fact() -> None:
    units = [
        UnitOffer(slot, 1_000, "running", 1, holder=HOLDERS[slot // 1_000 % 2]) for slot in range(0, 50_000, 1_000)
    ]
    pages = encode_agent(units)
    assert (len(pages), read(pages)) == (1, units)


def test_a_thousand_units_with_copies_here_and_there_are_a_handful_of_facts() -> None:
    luck = Random(2)
    units = [UnitOffer(slot, 1, "running", 1, holder=luck.choice(HOLDERS)) for slot in range(1_000)]
    pages = encode_agent(units)
    assert len(pages) <= 8
    assert read(pages) == units
    assert list(pages) == ["", *(f"#{number}" for number in range(1, len(pages)))]


def test_a_thousand_units_that_have_nothing_in_common_lose_words_and_not_one_unit() -> None:
    luck = Random(3)
    units = [
        UnitOffer(slot, 1, "backoff", slot * 7 % 9_999, f"{luck.random()}" * 9, slot % 99, 77, 8, luck.randbytes(8))
        for slot in range(1_000)
    ]
    pages = encode_agent(units)
    assert len(pages) <= PAGES_MAX
    assert [(u.first_slot, u.state, u.epoch) for u in read(pages)] == [(u.first_slot, u.state, u.epoch) for u in units]


def test_no_units_are_no_facts() -> None:
    assert encode_agent([]) == {}


units = st.builds(
    UnitOffer, st.integers(0, 50_000), st.just(1), st.sampled_from(("running", "starting", "backoff")),
    st.integers(1, 2**40), st.text(max_size=300), st.integers(0, 9), st.integers(0, 2**22), st.integers(0, 2**50),
    st.sampled_from((b"", *HOLDERS)),
)  # fmt: skip


@given(st.lists(units, max_size=40, unique_by=lambda unit: unit.first_slot))
def test_whatever_is_told_fits_and_comes_back(told: list[UnitOffer]) -> None:
    found = read(encode_agent(told))
    assert [(u.first_slot, u.slots, u.state, u.epoch) for u in found] == [
        (u.first_slot, u.slots, u.state, u.epoch) for u in sorted(told, key=lambda unit: unit.first_slot)
    ]


def test_pages_have_their_place_in_the_key() -> None:
    assert agent_key("words") == ("words", 0)
    assert agent_key("words#3") == ("words", 3)
    for junk in ("", "#1", "words#", "words#x", "words#0", "words#-1", f"words#{PAGES_MAX}", "words#" + "9" * 5_000):
        assert agent_key(junk) is None, junk


# -- skills ------------------------------------------------------------------------------------------------------------


def test_a_small_skill_keeps_all_that_its_agent_said() -> None:
    offer = decode_skill(encode_skill("words", described()))
    assert offer is not None
    assert (offer.agent, offer.tags, offer.streams, offer.idempotent) == ("words", ("text", "fast"), True, True)
    assert (offer.description, offer.input_schema, offer.output_schema) == ("counts words", SMALL, SMALL)


def test_the_schema_of_the_result_goes_before_the_schema_of_the_arguments() -> None:
    offer = decode_skill(encode_skill("words", described(gives=LARGE)))
    assert offer is not None
    assert (offer.description, offer.input_schema, offer.output_schema) == ("counts words", SMALL, "")


def test_schemas_go_before_the_description() -> None:
    offer = decode_skill(encode_skill("words", described(takes=LARGE)))
    assert offer is not None
    assert (offer.description, offer.input_schema, offer.output_schema) == ("counts words", "", "")


@given(st.text(max_size=4_000), st.text(max_size=3_000), st.lists(st.text(max_size=60), max_size=40))
def test_whatever_an_agent_describes_fits_and_keeps_names_and_marks(text: str, takes: str, tags: list[str]) -> None:
    value = encode_skill(AGENT, SkillDescription("s", text, takes, takes, tags, streams=True, idempotent=True))
    assert len(value) <= VALUE_BYTES_MAX
    offer = decode_skill(value)
    assert offer is not None
    assert (offer.agent, offer.streams, offer.idempotent) == (AGENT, True, True)
    short = [tag for tag in tags if 0 < len(tag.encode()) <= 32]
    assert list(offer.tags) == short[:TAGS_MAX]


def test_the_skill_of_a_second_agent_has_a_key_of_its_own() -> None:
    assert (skill_key("count"), skill_key("count", "beans")) == ("skill/count", "skill/count@beans")


# -- junk --------------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=64))
def test_junk_never_raises(value: bytes) -> None:
    decode_skill(value)
    decode_agent(value)


def test_claims_beyond_all_measure_say_nothing() -> None:
    words, good = ["running"], [0, 1, 1, 0, 1]
    for at, bad in ((0, -1), (1, 0), (1, 10_001), (1, 2**60), (2, 0), (3, 1), (3, -1), (4, -1), (4, 2**60)):
        row = [*good[:at], bad, *good[at + 1 :]]
        assert decode_agent(msgspec.msgpack.encode([words, [], [row]])) is None, (at, bad)
    for place in range(5, 10):
        row = [*good, *[0] * (place - 5), -1]
        assert decode_agent(msgspec.msgpack.encode([words, [], [row]])) is None, place
    assert decode_agent(msgspec.msgpack.encode([words, [], [[*good, 1]]])) is None, "a holder that is not there"
    assert decode_agent(msgspec.msgpack.encode([words, [], [good] * 10_001])) is None
    assert decode_agent(msgspec.msgpack.encode([words, [], [good]])) is not None


def test_text_that_is_no_utf8_says_nothing() -> None:
    packed = msgspec.msgpack.encode(("words", "bench"))
    assert decode_skill(packed) is not None
    assert decode_skill(packed.replace(b"bench", b"ben\xff\xfe")) is None
    page = encode_agent([UnitOffer(0, 1, "running", 1)])[""]
    assert decode_agent(page.replace(b"running", b"run\xff\xfeng")) is None


def test_fields_of_a_later_version_are_passed_over() -> None:
    page = [["running"], [], [[0, 1, 1, 0, 7, 0, 0, 0, 0, 0, "later"]], "later"]
    assert read({"": msgspec.msgpack.encode(page)}) == [UnitOffer(0, 1, "running", 7)]


def test_a_reason_of_any_length_is_told_by_its_beginning() -> None:
    (unit,) = read(encode_agent([UnitOffer(0, 1, "failed", 1, "é" * 2_000)]))
    assert unit.reason == "é" * DESCRIPTION_CHARS_MAX
