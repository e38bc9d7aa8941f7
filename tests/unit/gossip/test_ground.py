"""A directory over a ground is the same directory; what it changes, nobody else sees."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip import directory as room
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.directory import Directory, Row, Status
from meshnode.gossip.ground import Ground, Rolodex
from meshnode.gossip.letters import SignedRow
from meshnode.gossip.membership import Gossip
from meshnode.gossip.messages import MemberState
from meshnode.kernel import rng
from meshnode.kernel.effects import Send
from meshnode.kernel.fingerprints import Fingerprints
from meshnode.kernel.instant import Instant
from tests.unit.gossip.world import Box, Judge, Key, Members, Stats, World, member_record

KEYS = [Key(f"g{number}") for number in range(4)]
NOW = Instant(10_000_000, 1_700_000_000_000)
Step = tuple[int, int, int, Status, int]


def signed(step: Step) -> SignedRow:
    who, boot, incarnation, status, port = step
    key = KEYS[who]
    row = Row(key.node, boot, incarnation, status, (("h", port), (f"h{who}", 1)), b"{}", 5)
    body = room.encode_row(row)
    return SignedRow(body, key.sign(room.CONTEXT, body), member_record(key, f"n{who % 3}", f"r{who % 2}"))


def take(held: Directory, row: SignedRow) -> None:
    merge = held.offer(row)
    if merge is not None and merge.news:
        held.hold(merge)


def facts(held: Directory) -> object:
    """All that anybody can ask."""
    return (
        list(held.members()), held.known(), sorted(entry.signed.body for entry in held.all()), len(held),
        held.rows.root(), held.tombstones.root(), list(held.regions()), [list(held.in_region(f"r{n}")) for n in (0, 1)],
        [held.named(f"n{n}") for n in range(3)], [held.entry(key.node) for key in KEYS],
    )  # fmt: skip


steps = st.lists(
    st.tuples(st.integers(0, 3), st.integers(1, 3), st.integers(0, 2), st.sampled_from(Status), st.integers(1, 3)),
    max_size=8,
)


@given(before=steps, after=steps, forgets=st.booleans())
def test_a_directory_over_a_ground_answers_like_one_that_was_told_everything(
    before: Sequence[Step], after: Sequence[Step], forgets: bool
) -> None:
    base, plain = Directory(Judge(), Members()), Directory(Judge(), Members())
    for step in before:
        take(base, signed(step))
        take(plain, signed(step))
    over = Directory(Judge(), Members(), Ground(base.all()))
    untouched = Directory(Judge(), Members(), Ground(base.all()))
    assert facts(over) == facts(plain)
    for step in after:
        take(over, signed(step))
        take(plain, signed(step))
    if forgets and plain.all():
        for held in (over, plain):
            held.forget(plain.all()[0].node)
    assert facts(over) == facts(plain)
    assert facts(untouched) == facts(base)
    for port in range(1, 4):
        naming = [entry.node for entry in plain.all() if ("h", port) in entry.row.endpoints]
        assert (over.holder(("h", port)) in naming) if naming else (over.holder(("h", port)) is None)


PAIRS = st.lists(st.tuples(st.integers(0, 40), st.integers(0, 3), st.booleans()), max_size=60)


@given(before=PAIRS, after=PAIRS)
def test_fingerprints_over_others_sum_up_like_a_set_of_their_own(
    before: Sequence[tuple[int, int, bool]], after: Sequence[tuple[int, int, bool]]
) -> None:
    base, plain = Fingerprints(), Fingerprints()

    def apply(index: Fingerprints, changes: Sequence[tuple[int, int, bool]]) -> None:
        for key, version, put in changes:
            if put:
                index.put(b"%d" % key, b"%d" % version)
            else:
                index.remove(b"%d" % key)
            index.root()

    for index in (base, plain):
        apply(index, before)
    root, over = base.root(), Fingerprints(base)
    for index in (over, plain):
        apply(index, after)
    assert (over.root(), over.sums(), len(over)) == (plain.root(), plain.sums(), len(plain))
    assert all(over.bucket(number) == plain.bucket(number) for number in range(256))
    assert base.root() == root


def test_addresses_with_one_hash_do_not_hide_each_other() -> None:
    rolodex, address = Rolodex(), ("h", 1)
    rolodex.enter(KEYS[0].node, [address])
    rolodex.enter(KEYS[1].node, [address])
    assert rolodex.holders(address) == (KEYS[0].node, KEYS[1].node)
    rolodex.leave(KEYS[0].node, [address])
    assert rolodex.holders(address) == (KEYS[1].node,)


def test_a_node_whose_row_is_in_the_ground_begins_with_it_and_holds_all_others_for_ready() -> None:
    base = Directory(Judge(), Members())
    for who in range(4):
        take(base, signed((who, 1, 0, Status.ALIVE, 1)))
    world, box = World(1), Box("n0", "r0", KEYS[0], ("h0", 1))
    config = GossipConfig(
        node=box.id, name="n0", region="r0", boot=1, member=member_record(KEYS[0], "n0", "r0"), endpoints=(("h0", 1),)
    )
    gossip = Gossip(
        config, signer=KEYS[0], verifier=Judge(), trust=Members(), links=Stats(world, box), rng=rng.fork(b"1", "g"),
        ground=Ground(base.all()),
    )  # fmt: skip
    assert not [effect for effect in gossip.start(NOW) if isinstance(effect, Send)]
    assert gossip.self_row().endpoints == (("h", 1), ("h0", 1))
    assert {gossip.state(key.node) for key in KEYS} == {MemberState.READY}
    assert gossip.directory_root() == base.rows.root()
