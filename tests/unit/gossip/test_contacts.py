"""Whom to dial and when."""

import itertools

from meshnode.gossip.contacts import FAR_MIN, WORKED_MAX, Address, Contacts
from meshnode.kernel.effects import Dial, Persist
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.reasons import DialFailure
from meshnode.kernel.records import Record, RecordKind
from meshnode.links.tunnelwire import RELAY_PORT, relay_host
from meshnode.model.ids import UNKNOWN_NODE, NodeId
from tests.unit.gossip.world import luck

PEER, OTHER = NodeId(b"p" * 32), NodeId(b"o" * 32)
HOME: Address = ("home", 1)
AWAY: Address = ("away", 2)


def contacts(restored: tuple[Record, ...] = (), seed: int = 1) -> Contacts:
    return Contacts(luck(seed), own=lambda a: a == ("me", 1), holder=lambda _a: None, restored=restored)


def at(seconds: float) -> Instant:
    return Instant(round(seconds * SECOND), 0)


def run(
    dialler: Contacts, begin_s: float, end_s: float, *, fail: DialFailure | None, lonely: bool = True
) -> list[float]:
    """When dials went out; each fails at once, or (None) never answers."""
    when: list[float] = []
    while (due := dialler.deadline()) is not None and due <= end_s * SECOND:
        now = Instant(max(due, round(begin_s * SECOND)), 0)
        for effect in dialler.wake(now, lonely=lonely, linked=lambda _n: False):
            assert isinstance(effect, Dial)
            when.append(now.mono_us / SECOND)
            if fail is not None:
                dialler.failed(effect.dial_no, fail, lonely=lonely, now=now)
    return when


def test_a_black_hole_is_dialled_about_every_second_so_that_healing_is_noticed() -> None:
    for seed in range(20):
        dialler = contacts(seed=seed)
        dialler.aim(PEER, [HOME], 0, at(1))
        when = run(dialler, 1, 120, fail=None)
        gaps = [b - a for a, b in itertools.pairwise(when)]
        assert max(gaps) <= 1.0, f"seed {seed}"
        assert min(gaps) >= 0.5, f"seed {seed}"


def test_at_most_two_young_dials_run_to_one_node() -> None:
    dialler = contacts()
    dialler.aim(PEER, [HOME], 0, at(1))
    when = run(dialler, 1, 60, fail=None)
    assert max(sum(t <= other < t + 1.5 for other in when) for t in when) == 2


def reached(dialler: Contacts, dial_no: int, *, settled: bool = False, spared_us: int = 0, second: float = 4) -> bool:
    """Its TCP connection stands. ``settled``, ``spared_us``: what is known of its node."""
    return dialler.reached(dial_no, lambda _n: settled, lambda _n: spared_us, at(second))


def test_a_dial_whose_connection_stands_is_waited_for_and_no_second_one_begins() -> None:
    dialler = contacts()
    dialler.aim(PEER, [HOME, AWAY], 0, at(1))
    (first,) = dialler.wake(at(1), lonely=True, linked=lambda _n: False)
    assert isinstance(first, Dial)
    assert reached(dialler, first.dial_no)
    assert run(dialler, 1, 4, fail=None) == [], "the other address neither: whoever answered first is taken"
    assert dialler.dial_now(PEER, [HOME, AWAY], at(4)) == [], "its end is evidence as good as another one's"
    dialler.failed(first.dial_no, DialFailure.TIMEOUT, lonely=True, now=at(4))
    assert run(dialler, 4, 6, fail=None), "then it goes on"


def test_of_what_was_dialled_into_a_cut_only_what_is_still_of_use_goes_on() -> None:
    dialler = contacts()
    dials = [dialler.dial_now(PEER, [HOME], at(second)) for second in (1, 2, 3)]
    one, two, three = (effect.dial_no for (effect,) in dials if isinstance(effect, Dial))
    assert reached(dialler, two)
    assert not reached(dialler, one), "another one stands"
    dialler.found(two, PEER, at(4))
    assert not reached(dialler, three), "it is linked"
    (fourth,) = dialler.dial_now(PEER, [HOME], at(5))
    (fifth,) = dialler.dial_now(PEER, [HOME], at(6))
    assert isinstance(fourth, Dial) and isinstance(fifth, Dial)
    dialler.drop(PEER)
    assert not reached(dialler, fourth.dial_no, settled=True), "others say that it is well"
    assert reached(dialler, fifth.dial_no), "its answer is still evidence"


def test_who_is_to_be_heard_of_over_another_link_is_dialled_again_later() -> None:
    dialler = contacts()
    (first,) = dialler.dial_now(PEER, [HOME], at(1))
    (second,) = dialler.dial_now(OTHER, [AWAY], at(1))
    assert isinstance(first, Dial) and isinstance(second, Dial)
    assert not dialler.meets(lambda _n: True, SECOND, at(4))
    assert reached(dialler, first.dial_no, second=4)
    assert dialler.meets(lambda node: node == PEER, SECOND, at(4.5))
    assert not dialler.meets(lambda node: node == OTHER, SECOND, at(4.5)), "one to somebody else says nothing"
    assert not dialler.meets(lambda _n: True, SECOND, at(6)), "one that stands for long may never be a link"
    assert not reached(dialler, second.dial_no, spared_us=2 * SECOND, second=4)
    dialler.drop(PEER)
    assert 6.0 <= run(dialler, 4, 9, fail=None)[0] < 6.1


def test_a_first_dial_that_waits_for_news_goes_out_with_the_news_and_a_repeated_one_in_its_time() -> None:
    dialler = contacts()
    dialler.aim(PEER, [HOME], 2 * SECOND, at(1))
    dialler.hasten(PEER, at(1.5))
    (first, *_) = run(dialler, 1, 1.6, fail=None)
    assert first == 1.5
    dialler.hasten(PEER, at(1.6))
    assert run(dialler, 1.6, 2.0, fail=None) == []


def test_a_dial_that_stood_and_vanished_does_not_block_its_target_for_ever() -> None:
    dialler = contacts()
    dialler.aim(PEER, [HOME], 0, at(1))
    (first,) = dialler.wake(at(1), lonely=True, linked=lambda _n: False)
    assert isinstance(first, Dial)
    assert reached(dialler, first.dial_no)
    assert not reached(dialler, first.dial_no + 1), "of no dial"
    (again, *_) = run(dialler, 1, 30, fail=None)
    assert 12.0 < again < 15.0


def test_dials_are_given_as_much_time_as_others_took_lately() -> None:
    """Four times as long, on a machine on which a handshake takes a second; no longer than six seconds ever."""
    dialler = contacts()
    for number in range(20):
        other = NodeId(bytes([number]) * 32)
        (dial,) = dialler.dial_now(other, [("host", number)], at(1 + number))
        assert isinstance(dial, Dial)
        dialler.found(dial.dial_no, other, at(2 + number))
    dialler.aim(PEER, [HOME], 0, at(100))
    when = run(dialler, 100, 130, fail=None)
    assert max(sum(t <= other < t + 3.9 for other in when) for t in when) == 2
    assert max(b - a for a, b in itertools.pairwise(when)) < 6.0


def test_a_lonely_node_never_waits_longer_than_five_seconds() -> None:
    dialler = contacts()
    dialler.place(HOME, at(1))
    when = run(dialler, 1, 3600, fail=DialFailure.TIMEOUT)
    assert max(b - a for a, b in itertools.pairwise(when)) <= 5.0


def test_a_node_with_links_grows_patient_but_never_gives_up() -> None:
    dialler = contacts()
    dialler.aim(PEER, [HOME], 0, at(1))
    when = run(dialler, 1, 3600, fail=DialFailure.REFUSED, lonely=False)
    gaps = [b - a for a, b in itertools.pairwise(when)]
    assert 10.0 < max(gaps) <= 30.0
    assert when[-1] > 3500


def test_a_stranger_at_an_address_is_asked_rarely() -> None:
    dialler = contacts()
    dialler.place(HOME, at(1))
    assert len(run(dialler, 1, 600, fail=DialFailure.UNTRUSTED)) <= 10


def test_addresses_are_tried_in_turn_and_the_one_that_worked_first() -> None:
    dialler = contacts((Record(RecordKind.CONTACT, b"away:2", PEER),))
    dialler.aim(PEER, [HOME], 0, at(1))
    hosts = [
        e.host for t in (1, 2) for e in dialler.wake(at(t), lonely=True, linked=lambda _n: False) if isinstance(e, Dial)
    ]
    assert hosts == ["away", "home"]


def test_the_addresses_of_a_node_race_a_quarter_of_a_second_apart() -> None:
    dialler = contacts()
    dialler.aim(PEER, [HOME, AWAY, ("third", 3)], 0, at(1))
    when = run(dialler, 1, 4, fail=None)
    assert when[:3] == [1.0, 1.25, 1.5]
    assert all(b - a >= 0.5 for a, b in itertools.pairwise(when[2:]))


def test_the_race_ends_with_the_first_link() -> None:
    dialler = contacts()
    dialler.aim(PEER, [HOME, AWAY], 0, at(1))
    (first,) = dialler.wake(at(1), lonely=True, linked=lambda _n: False)
    (second,) = dialler.wake(at(1.25), lonely=True, linked=lambda _n: False)
    assert isinstance(first, Dial) and isinstance(second, Dial) and {first.host, second.host} == {"home", "away"}
    dialler.found(second.dial_no, PEER, at(1.3))
    assert dialler.failed(first.dial_no, DialFailure.TIMEOUT, lonely=False, now=at(2)) is None
    assert dialler.deadline() is None


def test_the_last_contacts_that_worked_are_kept_some_of_other_regions_among_them() -> None:
    far = [NodeId(bytes([1, n]) * 16) for n in range(12)]
    dialler = Contacts(luck(1), own=lambda _a: False, holder=lambda _a: None, near=lambda node: node not in far)
    kept: dict[bytes, Record] = {}
    near = [NodeId(bytes([2, n]) * 16) for n in range(60)]
    for number, node in enumerate([*far, *near]):
        dialler.aim(node, [("host", number)], 0, at(number))
        (dial,) = dialler.dial_now(node, [("host", number)], at(number))
        assert isinstance(dial, Dial)
        for effect in dialler.found(dial.dial_no, node, at(number)):
            assert isinstance(effect, Persist)
            kept |= {record.key: record for record in effect.records}
    living = [record for record in kept.values() if record.body]
    assert len(living) == WORKED_MAX
    assert [record.body for record in living if record.body in far] == far[-FAR_MIN:]
    assert [record.body for record in living if record.body in near] == near[-(WORKED_MAX - FAR_MIN) :]
    assert contacts(tuple(kept.values())).restored() == dialler.restored()


def test_what_worked_is_written_once() -> None:
    dialler = contacts()
    for second in (1, 5):
        dialler.aim(PEER, [HOME], 0, at(second))
        (dial,) = dialler.dial_now(PEER, [HOME], at(second))
        assert isinstance(dial, Dial) and dial.expect == PEER
        written = dialler.found(dial.dial_no, PEER, at(second))
        if second == 1:
            assert written == [Persist((Record(RecordKind.CONTACT, b"home:1", PEER),))]
        else:
            assert written == []


def test_a_refusal_is_proof_only_where_the_node_has_been() -> None:
    dialler = contacts()
    (first,) = dialler.dial_now(PEER, [HOME], at(1))
    assert isinstance(first, Dial)
    attempt = dialler.failed(first.dial_no, DialFailure.REFUSED, lonely=True, now=at(1))
    assert attempt is not None and not attempt.proven
    (second,) = dialler.dial_now(PEER, [HOME], at(2))
    assert isinstance(second, Dial)
    dialler.found(second.dial_no, PEER, at(2))
    (third,) = dialler.dial_now(PEER, [HOME], at(3))
    assert isinstance(third, Dial)
    attempt = dialler.failed(third.dial_no, DialFailure.REFUSED, lonely=True, now=at(3))
    assert attempt is not None and attempt.proven


def test_own_addresses_are_never_dialled() -> None:
    dialler = contacts()
    dialler.place(("me", 1), at(1))
    dialler.aim(PEER, [("me", 1)], 0, at(1))
    assert dialler.deadline() is None


def test_a_seed_whose_node_is_linked_rests() -> None:
    dialler = contacts((Record(RecordKind.CONTACT, b"home:1", PEER),))
    dialler.place(HOME, at(1))
    assert dialler.wake(at(1), lonely=False, linked=lambda node: node == PEER) == []
    assert dialler.deadline() is None
    dialler.hurry_all(at(9), 5 * SECOND)
    due = dialler.deadline()
    assert due is not None and due <= 14 * SECOND


def test_a_dial_that_vanishes_does_not_block_its_place_for_ever() -> None:
    dialler = contacts()
    dialler.place(HOME, at(1))
    when = run(dialler, 1, 300, fail=None, lonely=False)
    assert 2 <= len(when) <= 8
    assert when[-1] > 60


def test_links_that_break_at_once_do_not_turn_into_a_dialling_loop() -> None:
    dialler = contacts()
    dials, second = 0, 1.0
    while second < 120:
        dialler.aim(PEER, [HOME], 0, at(second))
        due = dialler.deadline()
        assert due is not None
        second = max(second, due / SECOND) + 0.01
        for effect in dialler.wake(at(second), lonely=True, linked=lambda _n: False):
            assert isinstance(effect, Dial)
            dials += 1
            dialler.found(effect.dial_no, PEER, at(second))
    assert dials < 40


def test_a_known_node_and_its_seed_address_are_not_both_dialled() -> None:
    dialler = contacts((Record(RecordKind.CONTACT, b"home:1", PEER),))
    dialler.aim(PEER, [HOME], 0, at(1))
    dialler.place(HOME, at(1))
    assert len(dialler.wake(at(1), lonely=True, linked=lambda _n: False)) == 1


def test_who_lost_several_at_once_looks_for_one_of_them_every_five_seconds_for_ever() -> None:
    for seed in range(20):
        dialler = contacts(seed=seed)
        for number in range(3):
            dialler.aim(NodeId(bytes([number]) * 32), [(f"lost-{number}", 1)], 0, at(1))
        when = run(dialler, 1, 900, fail=DialFailure.TIMEOUT, lonely=False)
        late = [b - a for a, b in itertools.pairwise(when) if a > 400]
        assert max(late) <= 15.0, f"seed {seed}"
        assert sum(late) / len(late) <= 5.0, f"seed {seed}"


def test_a_single_lost_node_costs_a_dial_in_half_a_minute() -> None:
    dialler = contacts()
    dialler.aim(PEER, [HOME], 0, at(1))
    when = run(dialler, 1, 900, fail=DialFailure.TIMEOUT, lonely=False)
    assert min(b - a for a, b in itertools.pairwise(when) if a > 400) >= 15.0


def test_relays_are_asked_when_nothing_else_is_left_and_never_for_themselves() -> None:
    dialler = contacts()
    through, itself = (relay_host(NodeId(b"r" * 32)), RELAY_PORT), (relay_host(PEER), RELAY_PORT)
    dialler.aim(PEER, [through, itself, HOME], 0, at(1))
    dialled = [dialler.wake(at(1 + n), lonely=True, linked=lambda _n: False) for n in range(2)]
    assert [(dial.host, dial.port) for [dial] in dialled if isinstance(dial, Dial)] == [HOME, through]


def test_a_node_that_names_no_address_at_all_is_not_dialled() -> None:
    dialler = contacts()
    dialler.aim(PEER, [HOME], 0, at(1))
    dialler.aim(PEER, [], 0, at(1))
    assert dialler.wake(at(2), lonely=True, linked=lambda _n: False) == []
    assert dialler.dial_now(PEER, [], at(3)) == []


def test_a_link_through_a_relay_is_tried_directly_ever_more_rarely_until_it_is_direct() -> None:
    ways = {PEER: NodeId(b"r" * 32)}
    dialler = Contacts(luck(1), own=lambda _a: False, holder=lambda _a: None, improvable=lambda node: bool(ways[node]))
    dialler.upgrades.watch(PEER, [HOME], at(0))
    when = run(dialler, 0, 3_600, fail=DialFailure.TIMEOUT, lonely=False)
    gaps = [b - a for a, b in itertools.pairwise([0.0, *when])]
    assert 1.0 <= gaps[0] <= 2.0
    assert max(gaps) <= 300.0
    assert 15 <= len(when) <= 40, "some twenty handshakes an hour"
    ways[PEER] = UNKNOWN_NODE
    assert run(dialler, 3_600, 7_200, fail=None, lonely=False) == []
    assert dialler.deadline() is None
