"""Rows: order, merge, forgery, persistence, tombstones; and our own row against twins."""

import itertools

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip import directory as room
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.directory import Directory, Row, Status
from meshnode.gossip.letters import RowRumour, Rows, SignedRow, encode
from meshnode.gossip.messages import Describe, Twinned
from meshnode.gossip.selfrow import REFUTE_EVERY_US, REFUTE_MAX, SelfRow
from meshnode.kernel.effects import Channel, Note
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.records import RecordKind
from meshnode.links.messages import ControlReceived
from meshnode.model.errors import RemoteError
from tests.unit.gossip.world import Judge, Key, Members, World, member_record, mesh

KEYS = [Key(f"k{number}") for number in range(3)]


def signed(
    key: Key,
    boot: int = 1,
    incarnation: int = 0,
    status: Status = Status.ALIVE,
    facts: bytes = b"{}",
    node: Key | None = None,
    host: str = "h",
    name: str = "x",
) -> SignedRow:
    row = Row((node or key).node, boot, incarnation, status, ((host, 1),), facts, 5)
    body = room.encode_row(row)
    return SignedRow(body, key.sign(room.CONTEXT, body), member_record(node or key, name, "r"))


def directory() -> Directory:
    return Directory(Judge(), Members())


def take(held: Directory, row: SignedRow) -> bool:
    merge = held.offer(row)
    if merge is None or not merge.news:
        return False
    held.hold(merge)
    return True


rows = st.builds(
    signed,
    st.sampled_from(KEYS),
    st.integers(1, 3),
    st.integers(0, 2),
    st.sampled_from(Status),
    st.sampled_from([b"{}", b'{"a":1}']),
    host=st.sampled_from("hi"),
)


@given(st.lists(rows, max_size=8), st.randoms(use_true_random=False))
def test_directories_that_saw_the_same_rows_are_equal_whatever_the_order(items: list[SignedRow], luck: object) -> None:
    one, two = directory(), directory()
    for row in items:
        take(one, row)
    shuffled = [*items, *items]
    luck.shuffle(shuffled)  # pyright: ignore[reportAttributeAccessIssue]
    for row in shuffled:
        take(two, row)
    assert one.rows.root() == two.rows.root()
    assert one.tombstones.root() == two.tombstones.root()
    assert one.members() == two.members()


def told(held: Directory) -> tuple[object, ...]:
    """All that a directory answers."""
    nodes = [key.node for key in KEYS]
    return (
        held.rows.root(), held.tombstones.root(), list(held.members()), held.known(), held.regions(), len(held),
        list(held.in_region("r")), held.named("x"), held.holder(("h", 1)), held.holder(("i", 1)), held.all(),
        [held.names(node, (host, 1)) for node in nodes for host in "hi"], held.unsaved(),
    )  # fmt: skip


@given(st.lists(st.one_of(rows, st.sampled_from(KEYS)), max_size=12))
def test_a_row_that_tells_other_facts_only_is_held_as_any_other(items: list[SignedRow | Key]) -> None:
    """Keys are nodes to be forgotten."""
    short, long = directory(), directory()
    for item in items:
        for held in (short, long):
            if isinstance(item, Key):
                if held.entry(item.node) is not None:
                    held.forget(item.node)
            elif (merge := held.offer(item)) is not None and merge.news:
                held.hold(merge if held is short else msgspec.structs.replace(merge, facts_only=False))
        assert told(short) == told(long)


@pytest.mark.parametrize(
    ("newer", "only"),
    [
        (signed(KEYS[0], 1, 1, facts=b'{"a":1}'), True),
        (signed(KEYS[0], 1, 1), True),
        (signed(KEYS[0], 2, 1), False),
        (signed(KEYS[0], 1, 1, host="i"), False),
        (signed(KEYS[0], 1, 1, Status.LEFT), False),
        (signed(KEYS[0], 1, 1, name="y"), False),
    ],
)
def test_another_boot_address_name_or_goodbye_is_more_than_other_facts(newer: SignedRow, *, only: bool) -> None:
    held = directory()
    take(held, signed(KEYS[0]))
    merge = held.offer(newer)
    assert merge is not None and merge.news and merge.facts_only is only
    held.forget(KEYS[0].node)
    merge = held.offer(newer)
    assert merge is not None and not merge.facts_only, "it comes back"


def test_a_newer_boot_wins_over_any_incarnation_and_left_over_alive() -> None:
    order = [(1, 0, Status.ALIVE), (1, 0, Status.LEFT), (1, 7, Status.ALIVE), (2, 0, Status.ALIVE)]
    for older, newer in itertools.combinations(order, 2):
        held = directory()
        assert take(held, signed(KEYS[0], *newer))
        assert not take(held, signed(KEYS[0], *older))


def test_a_row_that_left_is_a_tombstone_until_a_new_boot() -> None:
    held = directory()
    take(held, signed(KEYS[0]))
    take(held, signed(KEYS[0], 1, 1, Status.LEFT))
    assert held.members() == [] and len(held.tombstones) == 1 and len(held.rows) == 0
    assert held.known() == [KEYS[0].node]
    take(held, signed(KEYS[0], 2))
    assert held.members() == [KEYS[0].node] and len(held.tombstones) == 0


def test_a_forgotten_node_comes_back_only_with_something_newer() -> None:
    held = directory()
    take(held, signed(KEYS[0]))
    held.forget(KEYS[0].node)
    assert not take(held, signed(KEYS[0])) and held.members() == held.known() == []
    assert take(held, signed(KEYS[0], 1, 1)) and held.members() == [KEYS[0].node]


def bad_rows() -> list[tuple[str, SignedRow]]:
    good = signed(KEYS[0])
    flipped = bytes([good.signature[0] ^ 1]) + good.signature[1:]
    other_admin = member_record(KEYS[0], "x", "r", admin=KEYS[1])
    replace = msgspec.structs.replace
    return [
        ("row-forged", replace(good, signature=flipped)),
        ("row-forged", signed(KEYS[1], node=KEYS[0])),
        ("row-of-another-node", replace(good, member=member_record(KEYS[1], "x", "r"))),
        ("row-member-forged", replace(good, member=other_admin)),
        ("row-malformed", replace(good, body=b"\xc1")),
        ("row-malformed", signed(KEYS[0], facts=b" " * 5000)),
        ("row-facts-malformed", signed(KEYS[0], facts=b"[1]")),
        ("row-facts-malformed", signed(KEYS[0], facts=b'{"deep":' + b"[" * 2000 + b"]" * 2000 + b"}")),
    ]


@pytest.mark.parametrize(("reason", "row"), bad_rows())
def test_a_row_that_is_not_its_nodes_word_is_refused_by_name(reason: str, row: SignedRow) -> None:
    held = directory()
    with pytest.raises(RemoteError) as caught:
        held.offer(row)
    assert caught.value.reason == reason
    assert held.members() == []


@pytest.mark.parametrize(("reason", "row"), bad_rows())
def test_a_bad_row_in_a_letter_is_counted_and_hides_no_good_one(reason: str, row: SignedRow) -> None:
    world, boxes = mesh(2)
    good = signed(KEYS[2])
    world.tell(boxes[0], ControlReceived(boxes[1].id, Channel.GOSSIP, encode(Rows([row, good]))))
    assert [reject.reason for reject in boxes[0].rejects] == [reason]
    assert boxes[0].gossip.counters[reason] == 1
    assert KEYS[2].node in boxes[0].gossip.members()
    assert KEYS[0].node not in boxes[0].gossip.members()


def test_rows_survive_a_restart_and_a_damaged_record_is_skipped() -> None:
    held = directory()
    take(held, signed(KEYS[0]))
    take(held, signed(KEYS[1]))
    records = held.unsaved()
    assert {record.kind for record in records} == {RecordKind.DIRECTORY} and len(records) == 2
    assert held.unsaved() == ()
    damaged = msgspec.structs.replace(records[0], body=records[0].body[:-3])
    again = directory()
    assert again.recall(damaged) is None and again.recall(records[1]) is not None
    assert again.members() == [KEYS[1].node]


def test_a_raised_incarnation_alone_costs_no_write() -> None:
    held = directory()
    take(held, signed(KEYS[0]))
    held.unsaved()
    take(held, signed(KEYS[0], 1, 4))
    assert held.unsaved() == ()
    take(held, signed(KEYS[0], 1, 5, facts=b'{"gpu":1}'))
    assert len(held.unsaved()) == 1


# -- our own row ------------------------------------------------------------------------------------------------------


def own() -> SelfRow:
    config = GossipConfig(
        node=KEYS[0].node, name="x", region="r", boot=5, member=member_record(KEYS[0], "x", "r")
    )  # fmt: skip
    return SelfRow(config, KEYS[0])


def test_only_a_report_about_the_row_in_force_is_refuted() -> None:
    mine, now = own(), Instant(1, 1)
    mine.first(now)
    assert mine.refute(4, 0, now) is None and mine.refute(5, 3, now) is None
    assert mine.refute(5, 0, now) is not None
    assert mine.refute(5, 0, now) is None and mine.incarnation == 1


def test_reports_without_end_are_answered_at_a_pace_and_none_is_left_without_an_answer() -> None:
    mine, now_us = own(), SECOND
    mine.first(Instant(now_us, 1))
    for number in range(REFUTE_MAX):
        assert mine.refute(5, number, Instant(now_us, 1)) is not None
    assert mine.deadline() is None
    assert mine.refute(5, REFUTE_MAX, Instant(now_us, 1)) is None
    due_us = mine.deadline()
    assert due_us is not None and now_us < due_us <= now_us + REFUTE_EVERY_US
    assert mine.wake(Instant(due_us - 1, 1)) is None
    assert mine.wake(Instant(due_us, 1)) is not None and mine.incarnation == REFUTE_MAX + 1
    assert mine.deadline() is None, "one answer is for all who said the same"


@pytest.mark.parametrize(("boot", "incarnation", "facts", "is_twin"), [
    (4, 9, b"{}", False), (6, 0, b"{}", True), (5, 1, b"{}", True), (5, 0, b'{"a":1}', True),
])  # fmt: skip
def test_a_row_with_our_signature_that_we_never_signed_is_a_twins(
    boot: int, incarnation: int, facts: bytes, is_twin: bool
) -> None:
    mine = own()
    mine.first(Instant(1, 5))
    row = signed(KEYS[0], boot, incarnation, facts=facts)
    assert bool(mine.twin(room.read(row.body), row.body)) is is_twin


def test_our_own_old_words_are_no_twin() -> None:
    mine, now = own(), Instant(1, 5)
    old = mine.first(now)
    mine.describe(b'{"a":1}', (), now)
    assert mine.twin(room.read(old.body), old.body) == ""


def test_a_copied_data_directory_is_found_out_by_its_row() -> None:
    world, boxes = mesh(3)
    copy = World()
    twin = copy.box("n0")
    copy.kill(twin)
    copy.boot(twin)
    row = twin.gossip._parts.directory.entry(twin.id)
    assert row is not None
    world.tell(boxes[0], ControlReceived(boxes[1].id, Channel.GOSSIP, encode(Rows([row.signed]))))
    assert any(isinstance(fact, Twinned) for _, fact in boxes[0].facts)


def test_a_node_that_lost_its_journal_is_shown_what_it_said_under_the_same_number() -> None:
    world, (alpha, lost) = mesh(2)
    world.kill(lost)
    lost.journal.clear()
    lost.boot -= 1
    world.boot(lost, seeds=["n0"])
    world.run_until(lambda: any(isinstance(fact, Twinned) for _, fact in lost.facts), 5.0)
    assert any("two different rows" in fact.reason for _, fact in lost.facts if isinstance(fact, Twinned))
    assert not any(isinstance(fact, Twinned) for _, fact in alpha.facts)


def test_described_facts_reach_everybody_and_faulty_ones_are_refused_with_a_note() -> None:
    world, boxes = mesh(4)
    world.tell(boxes[1], Describe(b'{"gpu":2}', (("new", 9),)))
    world.run_for(0.2)
    assert all(box.gossip.row(boxes[1].id).facts == b'{"gpu":2}' for box in boxes)  # pyright: ignore[reportOptionalMemberAccess]
    for facts in (b"[]", b'{"a":"' + b"x" * 5000 + b'"}'):
        world.tell(boxes[1], Describe(facts, ()))
    notes = [fact for _, fact in boxes[1].facts if isinstance(fact, Note)]
    assert len(notes) == 2
    assert boxes[1].gossip.self_row().facts == b'{"gpu":2}'


def test_a_rumour_of_a_row_is_the_row_as_signed() -> None:
    row = signed(KEYS[0])
    assert row.body in encode(RowRumour(row))
