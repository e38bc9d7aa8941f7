"""Two copies that worked apart become one, whatever the order: nothing acknowledged is lost, nothing counts twice."""

import msgspec
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.checkpoints import merge
from meshnode.checkpoints.cell import base_of
from meshnode.checkpoints.entry import Entry, hash_of, seal, unseal
from meshnode.checkpoints.rows import Delta
from meshnode.checkpoints.seen import Seen
from meshnode.checkpoints.state import TOMBSTONES_MAX, State
from meshnode.kernel.epochs import Epoch
from meshnode.wire.state import Change, Op
from tests.unit.checkpoints.histories import HISTORIES, NODES, Owner, played, shown


def merged(one: State, other: State) -> State:
    return merge.merge(one, merge.delta(other))[0]


@given(HISTORIES)
def test_merging_is_idempotent_commutative_and_associative(history: list[tuple[object, ...]]) -> None:
    a, b, c = (owner.state for owner in played(history))
    assert shown(merged(a, a)) == shown(a)
    assert shown(merged(a, b)) == shown(merged(b, a))
    ab = merged(a, b)
    assert shown(merged(ab, b)) == shown(ab)
    assert shown(merged(ab, c)) == shown(merged(a, merged(b, c)))


@given(HISTORIES)
def test_a_delta_does_what_the_whole_does(history: list[tuple[object, ...]]) -> None:
    a, b, _ = (owner.state for owner in played(history))
    by_delta, _ = merge.merge(a, merge.delta(b, a.seen))
    assert shown(by_delta) == shown(merged(a, b))


@given(HISTORIES, st.integers(1, 400))
def test_a_merge_in_pieces_comes_to_the_same(history: list[tuple[object, ...]], bytes_max: int) -> None:
    a, b, _ = (owner.state for owner in played(history))
    whole = merged(a, b)
    pieces = merge.split(merge.delta(b, a.seen), bytes_max)
    assert [piece.final for piece in pieces] == [False] * (len(pieces) - 1) + [True]
    after = a.copy()
    for piece in pieces:
        sent = msgspec.msgpack.decode(msgspec.msgpack.encode(piece), type=Delta)
        merge.join(after, sent)
    assert shown(after) == shown(whole)


@given(HISTORIES, st.integers(1, 200), st.data())
def test_a_merge_that_was_cut_short_loses_nothing_when_done_again(
    history: list[tuple[object, ...]], bytes_max: int, data: st.DataObject
) -> None:
    a, b, _ = (owner.state for owner in played(history))
    whole = merged(a, b)
    pieces = merge.split(merge.delta(b, a.seen), bytes_max)
    half = a.copy()
    for piece in pieces[: data.draw(st.integers(0, len(pieces)))]:
        merge.join(half, piece)
    assert shown(merged(half, b)) == shown(whole)


@given(HISTORIES)
def test_no_acknowledged_value_is_lost(history: list[tuple[object, ...]]) -> None:
    owners = played(history)
    total = merged(merged(owners[0].state, owners[1].state), owners[2].state)
    written = [each for owner in owners for each in owner.wrote]
    for each in written:
        stands = each.value in [candidate.value for candidate in total.candidates(each.key)]
        assert stands or any(
            later.key == each.key and later.past.has(each.dot.epoch, each.dot.version) for later in written
        ), each


class Tally(Owner):
    """Counts: every call adds one, under its key."""

    def call(self, key: str) -> None:
        self.write([Change("n", Op.ADD, amount=1)], key)


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 12))
        | st.tuples(st.integers(0, 2), st.integers(0, 2), st.booleans()),
        max_size=60,
    )
)
@settings(max_examples=300)
def test_a_counter_is_the_number_of_distinct_keys_answered(steps: list[tuple[int, ...]]) -> None:
    owners = [Tally(n) for n in range(3)]
    answered: set[str] = set()
    for step in steps:
        if len(step) == 2:
            owners[step[0]].call(f"call-{step[1]}")
            answered.add(f"call-{step[1]}")
        else:
            owners[step[0]].take(owners[step[1]], by_delta=bool(step[2]))
    total = merged(owners[2].state, merged(owners[0].state, owners[1].state))
    assert total.value("n") == (b"%d" % len(answered) if answered else None)


def test_three_answers_to_one_key_count_once_whoever_meets_first() -> None:
    owners = [Tally(n) for n in range(3)]
    for owner in owners:
        owner.call("same")
    a, b, c = (owner.state for owner in owners)
    for total in (merged(merged(a, b), c), merged(merged(b, c), a), merged(merged(c, a), merged(a, b))):
        assert total.value("n") == b"1"
        assert total.answers.by_key["same"].dot.epoch == owners[0].epoch


def test_a_counter_set_anew_forgets_what_was_taken_back_before() -> None:
    one, two = Tally(0), Tally(1)
    one.call("same")
    two.call("same")
    one.take(two, by_delta=True)
    assert one.state.value("n") == b"1"
    one.write([Change("n", Op.SET, b"10")])
    one.write([Change("n", Op.ADD, amount=2)])
    assert one.state.value("n") == b"12"


def test_equal_values_collapse_and_others_stay_as_siblings() -> None:
    one, two = Owner(0), Owner(1)
    one.write([Change("a", Op.SET, b"1"), Change("b", Op.SET, b'"x"')])
    two.write([Change("a", Op.SET, b"1"), Change("b", Op.SET, b'"y"')])
    both = merged(one.state, two.state)
    assert [each.value for each in both.candidates("a")] == [b"1"]
    assert [each.value for each in both.candidates("b")] == [b'"y"', b'"x"']
    assert list(both.conflicted) == ["b"]


def test_a_value_and_a_deletion_that_did_not_know_each_other_both_stay() -> None:
    one, two = Owner(0), Owner(1)
    one.write([Change("a", Op.SET, b"1")])
    two.take(one, by_delta=True)
    one.write([Change("a", Op.SET, b"2")])
    two.write([Change("a", Op.DELETE)])
    both = merged(one.state, two.state)
    assert [each.value for each in both.candidates("a")] == [b"", b"2"]
    assert both.value("a") is None


def test_the_base_of_two_values_is_what_stood_before_the_cut() -> None:
    one, two = Owner(0), Owner(1)
    for value in (b"1", b"2"):
        one.write([Change("a", Op.SET, value)])
    two.take(one, by_delta=True)
    two.write([Change("a", Op.SET, b"3")])
    two.write([Change("a", Op.SET, b"4")])
    one.write([Change("a", Op.SET, b"5")])
    both = merged(one.state, two.state)
    theirs, mine = both.candidates("a")
    assert base_of(both.cells["a"], mine.dot, theirs.dot) == b"2"


def test_a_deletion_too_old_to_be_kept_does_not_bring_the_key_back() -> None:
    one, two = Owner(0), Owner(1)
    keys = [f"k{n}" for n in range(TOMBSTONES_MAX + 10)]
    for start in range(0, len(keys), 1000):
        one.write([Change(key, Op.SET, b"1") for key in keys[start : start + 1000]])
    two.take(one, by_delta=True)
    for key in keys:
        one.write([Change(key, Op.DELETE)])
    assert len(one.state.trim()) == 10
    two.take(one, by_delta=True)
    assert two.state.values() == {}
    one.take(two, by_delta=True)
    assert one.state.values() == {}


def test_a_replica_with_more_than_the_owner_comes_to_what_a_merge_comes_to() -> None:
    one, two = Owner(0), Owner(1)
    one.write([Change("a", Op.SET, b"1")])
    two.write([Change("a", Op.SET, b"2")])
    past = one.state.seen.copy()
    planned = one.state.plan([Change("a", Op.SET, b"3")], one.epoch, {})
    entry = Entry(one.epoch, 2, planned.changes)
    replica = merged(two.state, one.state)
    merge.enter(one.state, entry)
    merge.enter(replica, entry, past)
    assert shown(replica) == shown(merged(one.state, two.state))


def test_a_copy_that_is_believed_to_know_more_than_it_does_is_noticed() -> None:
    one, two, three = Owner(0), Owner(1), Owner(2)
    one.write([Change("a", Op.SET, b"1")])
    two.write([Change("a", Op.SET, b"2")])
    one.take(two, by_delta=True)
    assert merge.lacking(three.state, merge.delta(one.state, two.state.seen))
    assert not merge.lacking(two.state, merge.delta(one.state, two.state.seen))


def test_an_entry_reads_as_it_was_written_and_its_hash_covers_its_predecessor() -> None:
    entry = Entry(Epoch(1, NODES[0]), 7, (), "key", b"1", (("n", 2),))
    sealed = seal(entry, bytes(32))
    assert unseal(sealed) == entry
    assert hash_of(sealed) != hash_of(seal(entry, b"\x01" * 32))


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 6), st.booleans()), max_size=12))
def test_what_was_seen_joins_like_sets(rows: list[tuple[int, int, bool]]) -> None:
    one, two = Seen(), Seen()
    for n, (number, version, single) in enumerate(rows):
        (one if n % 2 else two).note(Epoch(number, NODES[0]), version) if single else (one if n % 2 else two).reach(
            Epoch(number, NODES[0]), version
        )
    both, other_way = one.copy(), two.copy()
    both.join(two)
    other_way.join(one)
    assert both == other_way
    assert both.digest() == other_way.digest()
    assert both.covers(one) and both.covers(two)
