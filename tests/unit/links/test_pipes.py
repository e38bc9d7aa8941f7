"""Tunnels whose ends come by connections of their own: who does, by which key, and who pays for what passes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.effects import Reject
from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.reasons import Loss
from meshnode.links.carriage import RelayConfig
from meshnode.links.messages import PeerDown
from meshnode.links.tunnels import PIPE_FAILED, PIPELESS_US, PIPELESS_US_MAX
from meshnode.links.tunnelwire import (
    CLOSED,
    PIPE_WINDOW_BYTES,
    WINDOW_BYTES,
    Credit,
    Open,
    PipeAwaited,
    PipeCredit,
    PipeEnded,
    PipeGone,
    PipeRead,
    TunnelClosed,
    TunnelGone,
    TunnelReceived,
    TunnelStart,
    TunnelWritten,
    Way,
    frame_of,
)
from meshnode.model.ids import NodeId
from meshnode.wire.frame import Kind
from tests.unit.links.pipe import Place, World
from tests.unit.links.test_tunnels import ANN, ANNS, BEN, BENS, DIAL, REL, Three

DOOR = ("rel", 7000)


def piping(*without: NodeId, **limits: int) -> Three:
    """Ann, Ben and their relay, whose hosts can all do it; ``without``: ends that the relay has dialled."""
    three = Three(RelayConfig(carries=True, pipes=True, **limits))
    for node in (ANN, BEN):
        if node not in without:
            three.ways[node].doors[REL] = DOOR
    return three


def starts(three: Three) -> tuple[TunnelStart, TunnelStart]:
    three.opened()
    return three.of(ANN, TunnelStart)[-1], three.of(BEN, TunnelStart)[-1]


def awaited(three: Three) -> list[PipeAwaited]:
    return three.of(REL, PipeAwaited)


def test_each_end_comes_by_a_key_of_its_own_which_the_relay_awaits_before_it_was_told() -> None:
    three = piping()
    ours, theirs = starts(three)
    assert ours.door == theirs.door == DOOR
    assert [(each.side, each.key) for each in awaited(three)] == [(1, theirs.key), (0, ours.key)]
    assert ours.key != theirs.key and len(ours.key) == len(theirs.key) == 16
    assert three.nodes[REL].counters["relay-piped"] == 1


def test_no_key_is_given_twice_nor_by_two_relays() -> None:
    three, keys = piping(), list[bytes]()
    for _ in range(8):
        keys += [start.key for start in starts(three)]
    other = Three(RelayConfig(carries=True, pipes=True))
    other.nodes[REL].carriage.secret = b"another relay's"
    for node in (ANN, BEN):
        other.ways[node].doors[REL] = DOOR
    keys += [start.key for start in starts(other)]
    assert len(set(keys)) == len(keys) == 18


@pytest.mark.parametrize("without", [(ANN,), (BEN,), (ANN, BEN)])
def test_where_an_end_has_not_dialled_the_relay_the_bytes_of_both_are_frames(without: tuple[NodeId, ...]) -> None:
    three = piping(*without)
    ours, theirs = starts(three)
    assert (ours.door, ours.key, theirs.door, theirs.key) == (None, b"", None, b"")
    assert [each.pipe for each in awaited(three)] == [each.pipe for each in three.of(REL, PipeGone)]
    three.give(ANN, TunnelWritten(ours.tunnel, b"forth"))
    three.give(BEN, TunnelWritten(theirs.tunnel, b"back"))
    assert (three.heard(BEN), three.heard(ANN)) == (b"forth", b"back")


def test_an_end_that_the_relay_has_dialled_comes_to_what_its_row_says() -> None:
    three = piping(ANN)
    three.addresses[REL] = (("rel", 7001),)
    assert [start.door for start in starts(three)] == [("rel", 7001)] * 2


def test_a_door_is_where_a_link_was_dialled_or_the_address_in_the_row_from_which_it_came() -> None:
    near, far = Place(1), Place(2)
    world = World(near, far)
    world.dial(near, far, address="[fd00::7]:7000")
    world.run(50 * MS)
    known = (("10.0.0.8", 7000), ("10.0.0.7", 7001), ("10.0.0.7", 7002))
    assert near.hub.door(far.node, known) == ("fd00::7", 7000)
    (link,) = far.hub._links.values()  # pyright: ignore[reportPrivateUsage]
    assert link.inbound and far.hub.door(near.node, known) is None, "it came from nowhere that is known"
    link.address = "10.0.0.7"
    assert far.hub.door(near.node, known) == ("10.0.0.7", 7001)
    link.relay = far.node
    assert far.hub.door(near.node, known) is far.hub.door(NodeId(bytes(32)), known) is None


def test_a_host_that_cannot_is_not_asked_to() -> None:
    three = Three(RelayConfig(carries=True))
    for node in (ANN, BEN):
        three.ways[node].doors[REL] = DOOR
    assert [start.door for start in starts(three)] == [None, None]
    assert not awaited(three)


def test_an_earlier_release_says_nothing_of_pipes_and_gets_frames() -> None:
    """Its frames have two fields and no body; it leaves out what it does not know."""
    three = piping()
    asked = frame_of(Kind.TUNNEL_OPEN, ANNS, Open(BEN, ANN))
    three.give(REL, TunnelReceived(ANN, asked))  # of an opener
    assert three.of(BEN, TunnelStart)[-1].door is None and not awaited(three)
    three = piping()
    del three.nodes[BEN]  # so his own release does not answer
    three.give(ANN, DIAL)
    (first,) = awaited(three)
    three.give(REL, TunnelReceived(BEN, frame_of(Kind.TUNNEL_OPENED, BENS)))
    assert three.of(ANN, TunnelStart)[-1].door is None
    assert three.of(REL, PipeGone) == [PipeGone(first.pipe)]


def test_a_wanted_node_with_another_key_than_its_own_is_taken_to_come_by_its_link() -> None:
    three = piping()
    del three.nodes[BEN]
    three.give(ANN, DIAL)
    three.give(REL, TunnelReceived(BEN, frame_of(Kind.TUNNEL_OPENED, BENS, Way(bytes(16)))))
    assert three.of(ANN, TunnelStart)[-1].door is None


def test_frames_beside_a_pipe_end_the_tunnel_by_name() -> None:
    for kind in (Kind.TUNNEL_DATA, Kind.TUNNEL_CREDIT):
        body = Credit(2 * WINDOW_BYTES) if kind is Kind.TUNNEL_CREDIT else None
        three = piping()
        starts(three)
        frame = frame_of(kind, ANNS, body, b"" if body else b"data")
        assert three.nodes[REL].carriage.pass_on(ANN, frame, three.now) is None
        three.give(REL, TunnelReceived(ANN, frame))
        assert [each.reason for each in three.of(REL, Reject)] == ["tunnel-unexpected"]
        assert [gone.reason for node in (ANN, BEN) for gone in three.of(node, TunnelGone)] == ["tunnel-unexpected"] * 2
        assert three.of(REL, PipeGone)
        other = piping()
        starts(other)
        other.give(BEN, TunnelReceived(REL, frame_of(kind, BENS, body, b"" if body else b"data")))
        assert [each.reason for each in other.of(BEN, Reject)] == ["tunnel-unexpected"]


@given(pieces=st.lists(st.tuples(st.booleans(), st.integers(1, PIPE_WINDOW_BYTES)), max_size=30))
def test_what_passes_costs_its_client_as_much_as_frames_do_whichever_way_it_goes(
    pieces: list[tuple[bool, int]],
) -> None:
    rate = PIPE_WINDOW_BYTES
    three = piping(bytes_per_s=rate, burst_bytes=3 * PIPE_WINDOW_BYTES, open_bytes=1)
    starts(three)
    (pipe, *_) = {each.pipe for each in awaited(three)}
    got = {0: 0, 1: 0}
    for forth, size in pieces:
        side = 0 if forth else 1
        got[side] += size
        before = len(three.of(REL, PipeCredit))
        three.give(REL, PipeRead(pipe, side, got[side]))
        credit = three.of(REL, PipeCredit)[before:]
        paid = 3 * PIPE_WINDOW_BYTES - 1 - sum(got.values()) >= 0
        assert credit == [PipeCredit(pipe, side, got[side] + PIPE_WINDOW_BYTES)] * paid
    assert three.nodes[REL].carriage.bytes_carried == sum(got.values())
    sides_in_debt = {side for side in got if (last := _last_credit(three, side)) and last < got[side]}
    three.wait(40 * SECOND)
    for side in sides_in_debt:
        assert _last_credit(three, side) == got[side] + PIPE_WINDOW_BYTES, "what waited comes when it is paid for"


def _last_credit(three: Three, side: int) -> int:
    return max((each.total for each in three.of(REL, PipeCredit) if each.side == side), default=0)


def test_what_passed_before_a_pipe_ended_is_paid_for_even_when_its_tunnel_was_closed_before() -> None:
    """Else whoever closes his tunnel in time, and opens another, has no quota."""
    for closed in (False, True):
        three = piping(open_bytes=1)
        ours, _ = starts(three)
        carriage, pipe = three.nodes[REL].carriage, awaited(three)[0].pipe
        if closed:
            three.give(ANN, TunnelClosed(ours.tunnel))
            assert three.of(REL, PipeGone) == [PipeGone(pipe)]
        before = carriage._purses[ANN].left  # pyright: ignore[reportPrivateUsage]
        for side, total in ((0, 1000), (1, 500)):
            three.give(REL, PipeRead(pipe, side, total))
        assert before - carriage._purses[ANN].left == carriage.bytes_carried == 1500  # pyright: ignore[reportPrivateUsage]
        assert len(three.of(REL, PipeCredit)) == (0 if closed else 2)
        three.give(REL, PipeEnded(pipe))
        assert carriage.tunnels == 0 and not carriage._pipes  # pyright: ignore[reportPrivateUsage]


def test_a_pipe_that_ended_frees_its_numbers_at_both_ends() -> None:
    three = piping()
    starts(three)
    three.give(REL, PipeEnded(awaited(three)[0].pipe))
    assert [gone.reason for node in (ANN, BEN) for gone in three.of(node, TunnelGone)] == ["pipe-ended"] * 2
    assert three.nodes[REL].carriage.tunnels == 0 and not three.of(REL, PipeGone), "the host knows"
    three.give(REL, PipeEnded(99))
    three.give(REL, PipeRead(99, 0, 5))


def test_an_end_that_goes_takes_the_pipe_and_the_other_end_with_it() -> None:
    for how in ("closed", "link lost"):
        three = piping()
        ours, _ = starts(three)
        three.give(*(ANN, TunnelClosed(ours.tunnel)) if how == "closed" else (REL, PeerDown(ANN, Loss.RESET, "")))
        assert len(three.of(BEN, TunnelGone)) == len(three.of(REL, PipeGone)) == 1, how


def failing(three: Three, who: NodeId, reason: str = PIPE_FAILED) -> None:
    """The next pipe comes to nothing at this end."""
    started = dict(zip((ANN, BEN), starts(three), strict=True))[who]
    assert started.door == DOOR, "it is a pipe"
    three.give(who, TunnelClosed(started.tunnel, reason))


def frames_for_us(three: Three) -> int:
    """How long no pipe is tried, from now on."""
    began_us = three.now_us
    while (start := starts(three)[0]).door is None:
        three.give(ANN, TunnelClosed(start.tunnel))
        three.now_us += 5 * SECOND
    return three.now_us - began_us


@pytest.mark.parametrize("who", [ANN, BEN])
def test_where_a_pipe_came_to_nothing_frames_are_used_for_a_while_or_until_the_link_to_that_relay_is_another(
    who: NodeId,
) -> None:
    three = piping(open_bytes=1)
    failing(three, who)
    assert three.nodes[who].counters[PIPE_FAILED] == 1
    assert frames_for_us(three) == PIPELESS_US
    failing(three, who)
    assert [start.door for start in starts(three)] == [None, None]
    three.give(who, PeerDown(REL, Loss.RESET, ""))
    assert [start.door for start in starts(three)] == [DOOR, DOOR]


def test_the_while_is_longer_each_time_and_short_again_when_a_pipe_has_come_to_something() -> None:
    three = piping(open_bytes=1)
    pauses: list[int] = []
    for _ in range(5):
        failing(three, ANN)
        pauses.append(frames_for_us(three))
    assert pauses == [min(PIPELESS_US * 4**n, PIPELESS_US_MAX) for n in range(5)]
    failing(three, ANN, "tunnel-busy")
    failing(three, ANN, CLOSED)
    failing(three, ANN)
    assert frames_for_us(three) == PIPELESS_US


def test_pipes_that_fail_together_are_one_failure() -> None:
    three = piping(open_bytes=1)
    together = [starts(three)[0] for _ in range(4)]
    for start in together:
        three.give(ANN, TunnelClosed(start.tunnel, PIPE_FAILED))
    assert frames_for_us(three) == PIPELESS_US


def test_pipes_that_linger_have_a_limit_a_client_and_one_in_all() -> None:
    """Else whoever opens and closes them holds as many connections of the relay as he likes."""
    for limits in ({"tunnels_per_client_max": 3}, {"tunnels_max": 3}):
        three = piping(open_bytes=1, **limits)
        for _ in range(6):
            ours, _ = starts(three)
            three.give(ANN, TunnelClosed(ours.tunnel))
        assert three.nodes[REL].carriage.tunnels == 0
        three.give(ANN, DIAL)
        refused = "relay-quota" if "tunnels_per_client_max" in limits else "relay-full"
        assert three.failure() == f"relay rel: {refused}"
        three.give(REL, PipeEnded(awaited(three)[0].pipe))
        assert starts(three)[0].door == DOOR


def test_as_many_tunnels_as_there_may_be_can_be_opened_anew_at_once_when_a_link_broke() -> None:
    for limits in ({"tunnels_per_client_max": 3}, {"tunnels_max": 3}):
        three = piping(open_bytes=1, **limits)
        for _ in range(3):
            starts(three)
        three.give(REL, PeerDown(ANN, Loss.RESET, ""))
        three.give(ANN, PeerDown(REL, Loss.RESET, ""))
        assert [starts(three)[0].door for _ in range(3)] == [DOOR] * 3


def test_a_dial_fails_by_name_when_its_door_is_gone_before_its_key_comes() -> None:
    three = piping()
    ways = three.ways[ANN]
    del three.nodes[BEN]
    three.give(ANN, DIAL)
    ways.doors.clear()
    (first,) = awaited(three)
    three.give(REL, TunnelReceived(BEN, frame_of(Kind.TUNNEL_OPENED, BENS, Way(first.key))))
    assert three.failure() == "relay rel: pipe-failed"
    assert three.nodes[REL].carriage.tunnels == 0
