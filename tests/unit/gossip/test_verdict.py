"""The rules of verdicts, one by one."""

import msgspec
import pytest

from meshnode.gossip.messages import MemberState
from meshnode.gossip.silence import Health, Silence
from meshnode.gossip.verdict import Case, Evidence, condemned, judge, unanimous
from meshnode.kernel.instant import MS, SECOND
from meshnode.model.ids import NodeId

A, B, C, D = (NodeId(bytes([n]) * 32) for n in range(4))
READY, SUSPECT, UNREACHABLE, DOWN = (
    MemberState.READY, MemberState.SUSPECT, MemberState.UNREACHABLE, MemberState.DOWN,
)  # fmt: skip


def verdict(
    votes: dict[NodeId, Evidence], observers: int, *, ripe: bool = True, cut: str = "", helper: str = ""
) -> MemberState:
    case = Case(
        votes=votes, own=votes.get(A), observers=observers, ripe=ripe, vouched=True, cut=cut, helper=helper
    )  # fmt: skip
    return judge(case)[0]


@pytest.mark.parametrize(("votes", "observers", "expected"), [
    ({A: Evidence.SILENT}, 1, UNREACHABLE),
    ({A: Evidence.BROKEN}, 1, UNREACHABLE),
    ({A: Evidence.REFUSED}, 1, DOWN),
    ({B: Evidence.REFUSED}, 2, DOWN),
    ({A: Evidence.SILENT, B: Evidence.SILENT}, 2, UNREACHABLE),
    ({A: Evidence.REFUSED}, 3, UNREACHABLE),
    ({A: Evidence.REFUSED, B: Evidence.REFUSED}, 3, DOWN),
    ({A: Evidence.SILENT}, 3, UNREACHABLE),
    ({A: Evidence.SILENT, B: Evidence.BROKEN}, 3, DOWN),
    ({A: Evidence.SILENT, B: Evidence.SILENT}, 4, UNREACHABLE),
    ({A: Evidence.NO_ROUTE, B: Evidence.SILENT}, 3, UNREACHABLE),
    ({A: Evidence.GOODBYE}, 6, DOWN),
    ({B: Evidence.GOODBYE}, 6, UNREACHABLE),
])  # fmt: skip
def test_a_verdict_follows_from_votes_and_observers(
    votes: dict[NodeId, Evidence], observers: int, expected: MemberState
) -> None:
    assert verdict(votes, observers) is expected


def test_before_the_time_to_refute_has_passed_silence_is_only_suspicion() -> None:
    assert verdict({A: Evidence.SILENT, B: Evidence.SILENT, C: Evidence.SILENT}, 3, ripe=False) is SUSPECT
    assert verdict({A: Evidence.REFUSED, B: Evidence.REFUSED}, 3, ripe=False) is DOWN


def test_enough_observers_make_a_suspect_unreachable_sooner_but_not_down() -> None:
    votes = {A: Evidence.SILENT, B: Evidence.SILENT, C: Evidence.SILENT}
    case = Case(votes=votes, own=Evidence.SILENT, observers=3, ripe=False, confirmed=True, vouched=True)
    assert judge(case)[0] is UNREACHABLE
    assert judge(msgspec.structs.replace(case, helper="d"))[0] is SUSPECT


def test_silence_that_a_cut_explains_is_never_down() -> None:
    votes = {A: Evidence.SILENT, B: Evidence.SILENT, C: Evidence.SILENT}
    assert verdict(votes, 3, cut="region west unreachable") is UNREACHABLE
    assert verdict(votes, 3, helper="d") is UNREACHABLE
    assert verdict({A: Evidence.REFUSED, B: Evidence.REFUSED}, 3, cut="region west unreachable") is DOWN


def test_without_evidence_a_node_is_what_others_vouch_for() -> None:
    def state(vouched: bool, hearsay: MemberState | None) -> MemberState:
        return judge(Case(votes={}, observers=0, ripe=False, vouched=vouched, hearsay=hearsay))[0]

    assert state(True, None) is READY
    assert state(False, DOWN) is DOWN
    assert state(False, None) is UNREACHABLE


# -- silence ----------------------------------------------------------------------------------------------------------


def fed(gap_us: int, count: int = 100) -> Silence:
    silence = Silence(0, 2_500 * MS, 2 * SECOND)
    for number in range(1, count):
        silence.sample(number * gap_us)
    return silence


@pytest.mark.parametrize("gap_us", [10 * MS, SECOND, 2 * SECOND])
def test_a_link_that_is_never_quiet_for_longer_than_its_ping_is_suspicious_at_the_floor(gap_us: int) -> None:
    assert fed(gap_us).limit_us() == 2_500 * MS


def test_a_link_that_pings_rarely_is_given_the_time_for_it() -> None:
    assert Silence(0, 2_500 * MS, 5 * SECOND).limit_us() == 5_500 * MS


def test_who_misses_timers_of_his_own_is_patient_with_others_until_it_is_over() -> None:
    health, silence = Health(), fed(SECOND)
    health.late(10 * MS, SECOND)
    assert silence.limit_us(health.patience(SECOND)) == 2_500 * MS
    health.late(300 * MS, 2 * SECOND)
    health.late(300 * MS, 3 * SECOND)
    assert silence.limit_us(health.patience(3 * SECOND)) == 5 * SECOND
    assert silence.limit_us(health.patience(60 * SECOND)) == 2_500 * MS
    for number in range(20):
        health.late(9 * SECOND, (70 + number) * SECOND)
    assert health.patience(90 * SECOND) == 4.0


def test_a_slow_link_is_given_more_time_but_never_without_end() -> None:
    assert 3 * SECOND < fed(3 * SECOND).limit_us() < 6 * SECOND
    assert fed(60 * SECOND).limit_us() == 10 * SECOND


def test_a_silence_under_way_does_not_stretch_its_own_limit() -> None:
    silence = fed(SECOND)
    before = silence.limit_us()
    for _ in range(20):
        silence.sample(99 * SECOND)
    assert silence.limit_us() == before


def test_a_disturbance_voids_what_was_seen() -> None:
    silence = fed(3 * SECOND)
    silence.void(500 * SECOND)
    assert silence.limit_us() == 2_500 * MS
    assert silence.age_us(297 * SECOND, 499 * SECOND) == 0
    assert silence.age_us(297 * SECOND, 501 * SECOND) == SECOND


def test_who_knows_of_two_observers_among_many_nodes_does_not_believe_one_of_them_alone() -> None:
    """A firewall that keeps one node from all others makes it say of each that it refuses."""
    one, two = {B: Evidence.REFUSED}, {B: Evidence.REFUSED, C: Evidence.REFUSED}
    assert judge(Case(votes=one, observers=2, possible=10, ripe=True, vouched=True))[0] is UNREACHABLE
    assert judge(Case(votes=two, observers=2, possible=10, ripe=True, vouched=True))[0] is DOWN
    assert judge(Case(votes=one, observers=2, possible=2, ripe=True, vouched=True))[0] is DOWN


def test_a_silent_peer_is_asked_once_and_in_time_to_answer_before_it_is_suspected() -> None:
    for rtt_us in (MS, 50 * MS, 300 * MS):
        silence = Silence(0, 2_500 * MS, 2 * SECOND)
        limit_us = silence.limit_us(rtt_us=rtt_us)
        asks_us = silence.asks_at_us(limit_us, rtt_us)
        assert 2 * SECOND + rtt_us < asks_us <= limit_us - rtt_us, "after the answer to a ping, early enough for ours"
    assert silence.asks(SECOND) and not silence.asks(SECOND) and silence.asks(2 * SECOND)


def test_whom_two_refuse_may_answer_unless_nobody_is_left_who_could_hear_it() -> None:
    two = {B: Evidence.REFUSED, C: Evidence.REFUSED}
    case = Case(votes=two, observers=3, possible=9, ripe=True, vouched=True, hearing=True)
    assert condemned(case) and judge(case)[0] is UNREACHABLE
    assert judge(msgspec.structs.replace(case, hearing=False))[0] is DOWN
    assert judge(msgspec.structs.replace(case, trusted=True))[0] is READY, "it has answered such words before"
    assert not unanimous(msgspec.structs.replace(case, observers=2)), "this node has seen nothing itself"
    mine = msgspec.structs.replace(case, votes={A: Evidence.REFUSED, **two}, own=Evidence.REFUSED)
    assert unanimous(mine) and not unanimous(msgspec.structs.replace(mine, observers=4))
    assert judge(msgspec.structs.replace(mine, trusted=True))[0] is UNREACHABLE, "what it saw itself counts"
    goodbye = msgspec.structs.replace(mine, own=Evidence.GOODBYE)
    assert judge(goodbye)[0] is DOWN, "its own word needs no answer"


def test_of_three_nodes_one_that_is_refused_itself_asks_nobody() -> None:
    """With fewer than three observers a refusal is proof at once (see the rules of small meshes)."""
    case = Case(
        votes={A: Evidence.REFUSED}, own=Evidence.REFUSED, observers=2, possible=2, ripe=False, vouched=True
    )  # fmt: skip
    assert condemned(case) and unanimous(case)
    assert not unanimous(msgspec.structs.replace(case, possible=3)), "a third one may hear it"
    assert not unanimous(msgspec.structs.replace(case, votes={B: Evidence.REFUSED}, own=None)), "hearsay"
