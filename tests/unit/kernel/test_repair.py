"""Fingerprints, and the dialogue that finds exactly the difference of two sets."""

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel import repair
from meshnode.kernel.fingerprints import BUCKETS, Fingerprints, bucket_of
from meshnode.kernel.repair import Difference, RepairMessage, RepairRoot, RepairRows, RepairSums, answer, opening

KEYS = st.integers(0, 300).map(lambda n: b"key-%d" % n)
VERSIONS = st.integers(0, 3).map(lambda n: b"v%d" % n)
SETS = st.dictionaries(KEYS, VERSIONS, max_size=60)


def index_of(content: dict[bytes, bytes]) -> Fingerprints:
    index = Fingerprints()
    for key, version in content.items():
        index.put(key, version)
    return index


def over_the_wire(message: RepairMessage) -> RepairMessage:
    return msgspec.msgpack.decode(msgspec.msgpack.encode(message), type=RepairMessage)


def talk(here: Fingerprints, there: Fingerprints) -> Difference | None:
    """The whole dialogue, opened here: the difference as it is found, there."""
    speakers, message = (there, here), over_the_wire(opening(here))
    for turn in range(4):
        said = answer(speakers[turn % 2], message)
        if said is None or isinstance(said, Difference):
            return said
        message = over_the_wire(said)
    raise AssertionError("the dialogue does not end")


@given(one=SETS, other=SETS)
def test_the_dialogue_finds_exactly_the_difference(one: dict[bytes, bytes], other: dict[bytes, bytes]) -> None:
    found = talk(index_of(one), index_of(other))
    push = tuple(sorted(key for key in other if one.get(key) != other[key]))
    pull = tuple(sorted(key for key in one if other.get(key) != one[key]))
    if not push and not pull:
        assert found is None
    else:
        assert found is not None
        assert (tuple(sorted(found.push)), found.pull) == (push, pull)


@given(content=SETS, steps=st.lists(st.tuples(KEYS, VERSIONS, st.booleans()), max_size=60))
def test_equal_sets_have_equal_roots_whatever_their_history(
    content: dict[bytes, bytes], steps: list[tuple[bytes, bytes, bool]]
) -> None:
    index, model = index_of(content), dict(content)
    for key, version, put in steps:
        if put:
            index.put(key, version)
            model[key] = version
        else:
            index.remove(key)
            model.pop(key, None)
    fresh = index_of(dict(sorted(model.items())))
    assert index.root() == fresh.root()
    assert index.sums() == fresh.sums()
    assert len(index) == len(model)
    rows = [row for number in range(BUCKETS) for row in index.bucket(number)]
    assert sorted(rows) == sorted(model.items())


@given(content=SETS, key=KEYS, version=VERSIONS)
def test_any_change_shows_in_the_root(content: dict[bytes, bytes], key: bytes, version: bytes) -> None:
    index = index_of(content)
    before = index.root()
    index.put(key, version)
    assert (index.root() == before) is (content.get(key) == version)
    assert index.version(key) == version
    assert key in index


def test_key_and_version_are_not_confused_with_each_other() -> None:
    assert index_of({b"ab": b"c"}).sums()[bucket_of(b"ab")] != index_of({b"ab": b""}).sums()[bucket_of(b"ab")]
    one, other = Fingerprints(), Fingerprints()
    one.put(b"a", b"bc")
    other.put(b"ab", b"c")
    assert sorted(one.sums().values()) != sorted(other.sums().values())


def test_equal_sets_need_one_message() -> None:
    same = {b"a": b"1", b"b": b"2"}
    assert answer(index_of(same), opening(index_of(same))) is None


def test_a_root_costs_few_bytes_and_no_row_of_equal_buckets_is_sent() -> None:
    here = index_of({b"key-%d" % n: b"v" for n in range(5000)})
    there = index_of({b"key-%d" % n: b"v" for n in range(5000)} | {b"one more": b"v"})
    assert len(msgspec.msgpack.encode(opening(here))) < 20
    sums = answer(there, opening(here))
    assert isinstance(sums, RepairSums)
    rows = answer(here, sums)
    assert isinstance(rows, RepairRows)
    assert rows.buckets == [bucket_of(b"one more")]
    assert answer(there, rows) == Difference(push=(b"one more",), pull=())


def test_a_large_difference_takes_several_rounds_and_all_of_it_is_found() -> None:
    here, there = index_of({b"key-%d" % n: b"v" for n in range(2 * repair.ROWS_MAX + 10)}), Fingerprints()
    rounds = 0
    while (found := talk(here, there)) is not None:
        assert not found.push
        for key in found.pull:
            there.put(key, b"v")
        rounds += 1
        assert rounds < 10
    assert there.root() == here.root()
    assert rounds == 3


def test_numbers_of_buckets_that_do_not_exist_are_ignored() -> None:
    index = index_of({b"a": b"1"})
    assert answer(index, RepairSums({**index.sums(), -1: 5, BUCKETS: 5, 10**9: 5})) is None
    assert answer(index, RepairRows([-1, BUCKETS, 10**9], [])) is None


def test_a_root_that_is_no_hash_is_only_different() -> None:
    assert isinstance(answer(index_of({b"a": b"1"}), RepairRoot(b"")), RepairSums)
