"""Soft facts: merge, spread, expiry, refusals, budgets."""

from collections.abc import Sequence
from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip import soft as room
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.facts import CONTEXT, FactBody, opened
from meshnode.gossip.letters import SignedFact, SoftBatch, encode
from meshnode.gossip.messages import MemberState, Publish, SoftChanged
from meshnode.gossip.soft import SoftState
from meshnode.kernel import rng
from meshnode.kernel.effects import Channel, Note
from meshnode.kernel.instant import Instant
from meshnode.links.messages import ControlReceived
from tests.unit.gossip.world import Box, Judge, Key, Members, World, member_record, mesh

ME, OTHER, THIRD = Key("me"), Key("other"), Key("third")
PEER = THIRD.node
NOW = Instant(1_000_000_000, 1)


def state() -> SoftState:
    trust = Members()
    for key in (ME, OTHER, THIRD):
        trust.admit(member_record(key, "x", "r"))
    config = GossipConfig(node=ME.node, name="x", region="r", boot=1, member=b"")
    return SoftState(
        config, signer=ME, verifier=Judge(), trust=trust, rng=rng.fork(b"1", "soft"), told_by=lambda _o, _p: False
    )


def fact(
    version: int,
    key: str = "load",
    value: bytes = b"v",
    boot: int = 1,
    age_ms: int = 0,
    by: Key = OTHER,
    of: Key = OTHER,
) -> SignedFact:
    body = msgspec.msgpack.encode(FactBody(of.node, boot, version, key, value))
    return SignedFact(age_ms, body, by.sign(CONTEXT, body))


@given(
    st.lists(
        st.builds(
            fact, st.integers(1, 6), st.sampled_from("abc"), st.sampled_from([b"", b"1", b"2"]), st.integers(1, 3)
        ),
        max_size=10,
    ),
    st.randoms(use_true_random=False),
)
def test_soft_states_that_saw_the_same_facts_are_equal_whatever_the_order(
    items: list[SignedFact], luck: object
) -> None:
    one, two = state(), state()
    for item in items:
        one.receive(PEER, item, NOW)
    shuffled = [*items, *items]
    luck.shuffle(shuffled)  # pyright: ignore[reportAttributeAccessIssue]
    for item in shuffled:
        two.receive(PEER, item, NOW)
    assert one.index.root() == two.index.root()
    assert one.facts(OTHER.node) == two.facts(OTHER.node)


def run(held: SoftState, from_us: int, until_us: int) -> None:
    """Woken whenever it wants to be."""
    now_us = from_us
    while (due_us := held.deadline()) is not None and due_us <= until_us:
        now_us = max(now_us, due_us)
        held.wake(Instant(now_us, 1))


def expired(held: SoftState, story: Sequence[tuple[int, int]]) -> bool:
    """Facts of such boots, each so long after the one before: whether the last leaves in its time, and no sooner."""
    ttl_us, now_us, newest = held._config.soft_ttl_us, NOW.mono_us, 0  # pyright: ignore[reportPrivateUsage]
    stood_us = now_us
    for version, (boot, pause_us) in enumerate(story, start=1):
        run(held, now_us, now_us + pause_us)
        now_us += pause_us
        held.receive(PEER, fact(version, f"k{version}", boot=boot), Instant(now_us, 1))
        if boot >= newest:
            stood_us, newest = now_us, boot
    run(held, now_us, stood_us + ttl_us - 1)
    before = len(held.facts(OTHER.node))
    run(held, now_us, stood_us + ttl_us + room.LATE_US)
    return before > 0 and not held.facts(OTHER.node)


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 100_000_000)), min_size=1, max_size=8))
def test_facts_leave_when_their_owner_has_been_silent_for_so_long_and_a_quarter_second_later_at_most(
    story: list[tuple[int, int]],
) -> None:
    assert expired(state(), story)


def test_who_forgets_when_a_newer_boot_is_due_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(SoftState, "_watch", lambda *_: None)
    assert not expired(state(), [(1, 0), (2, 50_000_000)])


def test_a_fact_is_read_once_and_held_once_however_many_bring_and_hold_it() -> None:
    told, again = fact(1), fact(1)
    assert told.body is not again.body
    assert opened(told.body, told.signature) is opened(again.body, again.signature)
    assert opened(told.body, told.signature) is not opened(told.body, bytes(64)), "another signature is to be checked"


def test_a_new_boot_drops_the_facts_of_the_old_one() -> None:
    held = state()
    held.receive(PEER, fact(1, "a"), NOW)
    held.receive(PEER, fact(2, "b"), NOW)
    effects = held.receive(PEER, fact(1, "c", boot=2), NOW)
    assert [(e.key, e.value) for e in effects if isinstance(e, SoftChanged)] == [("a", b""), ("b", b""), ("c", b"v")]
    assert held.receive(PEER, fact(9, "a"), NOW) == []


def test_an_owner_that_said_nothing_yet_has_given_no_sign_of_life() -> None:
    held = state()
    assert held.proof_us(OTHER.node) is None
    held.drop(OTHER.node, 1)
    assert held.proof_us(OTHER.node) is None
    held.receive(PEER, fact(1), NOW)
    assert held.proof_us(OTHER.node) == NOW.mono_us


def test_a_repair_never_makes_a_fact_young_again() -> None:
    held = state()
    held.receive(PEER, fact(1, age_ms=290_000), NOW)
    assert held.receive(PEER, fact(2, "late", age_ms=300_000), NOW) == []
    due = held.deadline()
    assert due is not None and due <= NOW.mono_us + 10_000_000
    gone = held.wake(Instant(due, 1))
    assert [(e.key, e.value) for e in gone if isinstance(e, SoftChanged)] == [("load", b"")]
    assert held.facts(OTHER.node) == {}


@pytest.mark.parametrize(("reason", "bad"), [
    ("soft-forged", fact(1, by=THIRD)),
    ("soft-malformed", SignedFact(0, b"\x90", b"s" * 64)),
    ("soft-malformed", fact(1, value=b"x" * 1025)),
    ("soft-malformed", fact(1, key="")),
    ("soft-unknown-member", fact(1, of=Key("who"))),
])  # fmt: skip
def test_what_is_not_its_owners_word_is_refused_counted_and_not_applied(reason: str, bad: SignedFact) -> None:
    world, boxes = mesh(2)
    world.boxes["other"] = other = Box("other", "here", OTHER, ("host-other", 7000))
    world.boot(other, ["n0"])
    world.run_for(2.0)
    before = boxes[0].gossip.soft_root()
    world.tell(boxes[0], ControlReceived(boxes[1].id, Channel.GOSSIP, encode(SoftBatch([bad]))))
    assert [reject.reason for reject in boxes[0].rejects] == [reason]
    assert boxes[0].gossip.soft_root() == before


def test_an_honest_join_with_facts_is_refused_nothing() -> None:
    world = World()
    for number in range(5):
        box = world.box(f"n{number}", seeds=["n0"] if number else [])
        for key in range(4):
            world.tell(box, Publish(f"skill/{key}", b"x" * 300))
        world.run_for(2.0)
    assert not any(box.rejects for box in world.boxes.values())
    assert len({box.gossip.soft_root() for box in world.boxes.values()}) == 1


def test_an_owner_may_hold_only_so_many_keys() -> None:
    world, boxes = mesh(2)
    for number in range(room.KEYS_MAX + 5):
        world.tell(boxes[0], Publish(f"k{number}", b"v"))
    world.run_for(1.0)
    assert len(boxes[1].gossip.soft(boxes[0].id)) == room.KEYS_MAX
    assert sum(isinstance(f, Note) for _, f in boxes[0].facts) == 5


def test_a_published_fact_is_everywhere_within_a_tenth_of_a_second_and_told_once() -> None:
    world, boxes = mesh(4)
    world.tell(boxes[0], Publish("load", b"1"))
    world.run_for(0.1)
    for box in boxes:
        assert box.gossip.soft(boxes[0].id)["load"][0] == b"1"
        assert sum(isinstance(f, SoftChanged) and f.key == "load" for _, f in box.facts) == 1


def test_in_a_full_mesh_only_the_owner_sends_its_facts() -> None:
    world, boxes = mesh(4)
    for box in boxes:
        box.sent_bytes = 0
    world.tell(boxes[0], Publish("load", b"1"))
    world.run_for(0.5)
    assert boxes[0].sent_bytes > 3 * 100
    assert max(box.sent_bytes for box in boxes[1:]) < 100


def test_a_fast_changing_fact_is_coalesced_to_the_newest() -> None:
    world, boxes = mesh(2)
    world.run_for(1.0)
    begin = len(boxes[1].facts)
    for number in range(100):
        world.tell(boxes[0], Publish("load", str(number).encode()))
        world.run_for(0.01)
    world.run_for(0.3)
    seen = [f for _, f in boxes[1].facts[begin:] if isinstance(f, SoftChanged)]
    assert len(seen) <= 7
    assert seen[-1].value == b"99"


def test_a_withdrawn_fact_is_gone_everywhere_and_stays_gone() -> None:
    world, boxes = mesh(3)
    world.tell(boxes[0], Publish("skill/x", b"1"))
    world.run_for(1.0)
    world.cut(boxes[2:], boxes[:2])
    world.tell(boxes[0], Publish("skill/x", b""))
    world.run_for(20.0)
    assert "skill/x" in boxes[2].gossip.soft(boxes[0].id)
    world.heal()
    world.run_for(3.0)
    world.run_for(600.0)
    assert all("skill/x" not in box.gossip.soft(boxes[0].id) for box in boxes)


def test_facts_of_both_sides_converge_after_a_cut() -> None:
    world, boxes = mesh(4)
    world.cut(boxes[:2], boxes[2:])
    for number, box in enumerate(boxes):
        world.tell(box, Publish("load", str(number).encode()))
    world.run_for(30.0)
    assert len({box.gossip.soft_root() for box in boxes}) == 2
    world.heal()
    assert world.run_until(lambda: len({box.gossip.soft_root() for box in boxes}) == 1, 3.0) < 1.5
    assert all(box.gossip.soft(boxes[3].id)["load"][0] == b"3" for box in boxes)


def test_facts_live_while_their_owner_refreshes_and_expire_after_it_died() -> None:
    world, boxes = mesh(3)
    world.tell(boxes[2], Publish("load", b"1"))
    world.run_for(900.0)
    assert all("load" in box.gossip.soft(boxes[2].id) for box in boxes)
    world.kill(boxes[2])
    world.run_for(370.0)
    for box in boxes[:2]:
        assert box.gossip.soft(boxes[2].id) == {}
        last = [f for _, f in box.facts if isinstance(f, SoftChanged)][-1]
        assert (last.node, last.value) == (boxes[2].id, b"")
    assert len(boxes[0].gossip._parts.soft.index) == 0


def test_the_facts_of_a_node_that_starts_again_are_those_of_its_new_boot() -> None:
    world, boxes = mesh(3)
    world.tell(boxes[2], Publish("skill/old", b"1"))
    world.run_for(1.0)
    world.kill(boxes[2])
    world.run_for(2.0)
    world.boot(boxes[2])
    world.tell(boxes[2], Publish("skill/new", b"1"))
    world.run_for(2.0)
    for box in boxes:
        assert list(box.gossip.soft(boxes[2].id)) == ["skill/new"]


def test_signs_of_life_reach_those_without_a_link() -> None:
    """A far node known only through others ages from its own signatures, not from hope."""
    world, boxes = mesh(12)
    for box in boxes:
        world.tell(box, Publish("load", b"1"))
    world.run_for(300.0)
    for box in boxes:
        for other in boxes:
            proof_us = box.gossip.last_proof_us(other.id)
            if other is not box:
                assert proof_us is not None and world.now_us - proof_us < 90_000_000
                assert box.gossip.state(other.id) is MemberState.READY


def test_a_forged_age_cannot_keep_a_dead_owner_beyond_one_life() -> None:
    held = state()
    held.receive(PEER, fact(1), NOW)
    later = replace_now(299)
    assert held.receive(PEER, fact(1), later) == []
    due = held.deadline()
    assert due == NOW.mono_us + 300_000_000


def replace_now(seconds: int) -> Instant:
    return Instant(NOW.mono_us + seconds * 1_000_000, 1)


def test_settings_that_contradict_each_other_are_refused() -> None:
    config = GossipConfig(node=ME.node, name="x", region="r", boot=1, member=b"")
    with pytest.raises(ValueError, match="do not fit together"):
        replace(config, soft_refresh_max_us=config.soft_ttl_us)
    with pytest.raises(ValueError, match="do not fit together"):
        replace(config, soft_refresh_us=config.soft_refresh_max_us + 1)
    with pytest.raises(ValueError, match="profile"):
        replace(config, profile="huge")


def test_who_says_something_new_stands_by_all_he_said() -> None:
    held = state()
    held.receive(PEER, fact(1, "skill/x"), NOW)
    held.receive(PEER, fact(2, "load"), replace_now(290))
    held.wake(replace_now(310))
    assert sorted(held.facts(OTHER.node)) == ["load", "skill/x"]
    held.receive(PEER, fact(3, "late", age_ms=290_000), replace_now(500))
    gone = held.wake(replace_now(591))
    assert [(e.key, e.value) for e in gone if isinstance(e, SoftChanged)] == [
        ("skill/x", b""),
        ("load", b""),
        ("late", b""),
    ]
    assert held.deadline() is None
