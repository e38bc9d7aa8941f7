"""Stories of links between hubs, in virtual time."""

from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.effects import Channel, Reject, Send
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.reasons import Bye, Loss
from meshnode.links.config import EDGE_PING_US, PACE_MAX_US
from meshnode.links.hub import Hub
from meshnode.links.link import Link
from meshnode.links.messages import (
    ControlReceived,
    Expelled,
    FramesReceived,
    LinkOpened,
    LinkRejected,
    PeerDown,
    PeerUp,
    Post,
    Transmit,
)
from meshnode.model.ids import LinkId, MeshId
from meshnode.wire.frame import Frame, Kind
from tests.unit.links.pipe import Place, World, node_id


def pair(latency_us: int = 1 * MS, **settings: object) -> tuple[World, Place, Place]:
    a, b = Place(1, **settings), Place(2, **settings)
    return World(a, b, latency_us=latency_us), a, b


def linked(latency_us: int = 1 * MS, **settings: object) -> tuple[World, Place, Place]:
    world, a, b = pair(latency_us, **settings)
    world.dial(a, b)
    world.run(50 * MS + 6 * latency_us)
    return world, a, b


def ups_and_downs(place: Place) -> list[str]:
    return ["up" if isinstance(fact, PeerUp) else "down" for fact in place.told(PeerUp, PeerDown)]


def test_both_ends_come_up_with_what_the_other_said_of_itself() -> None:
    world, a, b = pair()
    world.dial(a, b, dial_no=7)
    world.run(10 * MS)
    assert a.told(PeerUp) == [PeerUp(b.node, "n2", "lab", 1, False, 7, "there", b"member")]
    assert b.told(PeerUp) == [PeerUp(a.node, "n1", "lab", 1, True, 0, "here", b"member")]
    assert a.hub.peers() == (b.node,)
    assert b.hub.peers() == (a.node,)


def test_a_new_member_record_is_told_to_peers_met_later() -> None:
    world, a, b = pair()
    a.hub.update_member(b"newer")
    world.dial(a, b)
    world.run(10 * MS)
    assert [fact.member for fact in b.told(PeerUp) if isinstance(fact, PeerUp)] == [b"newer"]


@pytest.mark.parametrize("kind", [Kind.CALL, Kind.RESULT, Kind.CANCEL, Kind.CHUNK, Kind.GRANT])
def test_every_frame_of_a_call_passes(kind: Kind) -> None:
    world, a, b = linked()
    frame = Frame(kind, header=b"\x90", payload=b"of a call")
    world.tell(a, Post(b.node, (frame,)))
    world.run(10 * MS)
    received = [told for fact in b.told(FramesReceived) if isinstance(fact, FramesReceived) for told in fact.frames]
    assert [(told.kind, told.payload) for told in received] == [(kind, b"of a call")]
    assert a.hub.peers() == (b.node,), "the link was taken down"


def test_messages_arrive_in_order_on_their_channel() -> None:
    world, a, b = linked()
    for number in range(5):
        world.tell(a, Send(b.node, Channel.STATE, b"%d" % number))
    world.run(10 * MS)
    assert b.told(ControlReceived) == [ControlReceived(a.node, Channel.STATE, b"%d" % n) for n in range(5)]


def test_all_frames_of_one_post_leave_as_one_piece_and_arrive_as_one_fact() -> None:
    world, a, b = linked()
    frames = tuple(Frame(Kind.CALL, 0, n, b"\x90", b"x") for n in range(20))
    effects = world.tell(a, Post(b.node, frames))
    assert [type(effect) for effect in effects] == [Transmit]
    world.run(10 * MS)
    (fact,) = b.told(FramesReceived)
    assert isinstance(fact, FramesReceived)
    assert [frame.stream for frame in fact.frames] == list(range(20))


def test_a_message_without_a_link_is_dropped_and_counted() -> None:
    world, a, b = pair()
    world.send(a, b, b"lost")
    world.post(a, b, b"lost", b"too")
    assert a.hub.counters["send-no-link"] == 1
    assert a.hub.counters["post-no-link"] == 2
    world.dial(a, b)
    world.run(1 * SECOND)
    assert b.bodies() == []


@given(
    later=st.integers(-20_000, 20_000),
    latency=st.integers(0, 10_000),
    jitter=st.integers(0, 20_000),
    seed=st.integers(0, 2**16),
)
def test_of_two_simultaneous_dials_one_link_stays_and_nobody_flaps(
    later: int, latency: int, jitter: int, seed: int
) -> None:
    a, b = Place(1), Place(2)
    world = World(a, b, latency_us=latency, jitter_us=jitter, seed=seed)
    world.dial(a, b, dial_no=1, later_us=max(0, later))
    world.dial(b, a, dial_no=2, later_us=max(0, -later))
    world.run(1 * SECOND)
    for place, other in ((a, b), (b, a)):
        assert ups_and_downs(place) == ["up"]
        world.send(place, other, b"hello")
    assert len(world.open_links()) == 2, "one connection, two ends"
    world.run(20 * SECOND)
    assert a.bodies() == b.bodies() == [b"hello"]
    assert ups_and_downs(a) == ups_and_downs(b) == ["up"]
    # Every dial ended in exactly one PeerUp or LinkRejected.
    for place, dial_no in ((a, 1), (b, 2)):
        ended = [f for f in place.told(PeerUp, LinkRejected) if getattr(f, "dial_no", 0) == dial_no]
        assert len(ended) == 1, place.facts


def test_the_dial_of_the_smaller_node_id_wins() -> None:
    world, a, b = pair(latency_us=10 * MS)
    world.dial(a, b, dial_no=1)
    world.dial(b, a, dial_no=2)
    world.run(1 * SECOND)
    (up,) = b.told(PeerUp)
    assert isinstance(up, PeerUp)
    assert up.inbound
    assert b.told(LinkRejected) == [LinkRejected(2, a.node, Loss.REPLACED, Bye.DUPLICATE_LINK)]


def test_a_second_dial_beside_a_healthy_link_ends_as_duplicate() -> None:
    world, a, b = linked()
    for caller, callee in ((a, b), (b, a)):
        world.dial(caller, callee, dial_no=9)
        world.run(100 * MS)
        assert caller.told(LinkRejected) == [LinkRejected(9, callee.node, Loss.REPLACED, Bye.DUPLICATE_LINK)]
    assert ups_and_downs(a) == ups_and_downs(b) == ["up"]
    assert len(world.open_links()) == 2


@pytest.mark.parametrize("dialler", [0, 1])
def test_a_link_only_one_side_has_lost_is_replaced_without_a_flap_at_the_other(dialler: int) -> None:
    world, a, b = pair()
    near, far = world.dial(a, b)
    world.run(50 * MS)
    caller, callee = ((a, b), (b, a))[dialler]
    world.post(callee, caller, b"before")
    world.run(50 * MS)
    world.blacken((near, far)[dialler])
    world.post(callee, caller, b"into the void")
    world.run(10 * MS)
    world.dial(caller, callee, dial_no=5)
    world.run(100 * MS)
    assert ups_and_downs(caller) == ["up", "down", "up"]
    assert ups_and_downs(callee) == ["up"]
    assert caller.bodies() == [b"before", b"into the void"]


def test_a_dial_beside_a_silent_link_replaces_it_and_keeps_the_peer_up() -> None:
    world, a, b = linked()
    world.silent = True
    world.post(a, b, b"swallowed")
    world.run(4 * SECOND)
    world.silent = False
    world.dial(a, b, dial_no=5)
    world.run(100 * MS)
    assert ups_and_downs(a) == ups_and_downs(b) == ["up"]
    assert a.told(LinkRejected) == [LinkRejected(5, b.node, Loss.REPLACED, Bye.DUPLICATE_LINK)]
    assert b.bodies() == [b"swallowed"]
    assert len(world.open_links()) == 2


def test_the_old_link_closing_before_the_new_one_is_welcome_is_no_flap() -> None:
    world, a, b = linked()
    world.silent = True
    world.run(2 * SECOND)
    world.silent = False
    _, far = world.dial(a, b, dial_no=5)
    world.slow[far] = 100 * MS
    world.run(50 * MS)
    assert len(a.hub.peers()) == 0, "GOAWAY came over the old link, WELCOME is still on its way"
    world.run(100 * MS)
    assert a.hub.peers() == (b.node,)
    assert ups_and_downs(a) == ups_and_downs(b) == ["up"]


def test_the_old_link_closing_is_told_once_the_new_one_has_failed() -> None:
    world, a, b = linked()
    world.silent = True
    world.run(2 * SECOND)
    world.silent = False
    near, far = world.dial(a, b, dial_no=5)
    world.slow[far] = 100 * MS
    world.run(50 * MS)
    assert ups_and_downs(a) == ["up"]
    world.reset(near)
    world.run(50 * MS)
    assert a.told(PeerDown) == [PeerDown(b.node, Loss.EOF, Bye.DUPLICATE_LINK)]


def test_a_hello_that_was_long_on_its_way_does_not_replace_a_later_link() -> None:
    a, b = Place(1), Place(2, handshake_us=30 * SECOND)
    world = World(a, b)
    near, _ = world.dial(a, b, dial_no=1)
    world.slow[near] = 8 * SECOND
    world.run(6 * SECOND)
    assert a.told(LinkRejected) == [LinkRejected(1, b.node, Loss.SILENT, "")]
    world.dial(a, b, dial_no=2)
    world.run(6 * SECOND)
    assert ups_and_downs(a) == ups_and_downs(b) == ["up"]
    assert b.hub.counters["refused-duplicate-link"] == 1


def test_a_newer_boot_replaces_the_old_process() -> None:
    world, a, b = linked()
    world.places.remove(a)
    newer = Place(1, run=2, boot=2)
    world.places.append(newer)
    world.dial(newer, b)
    world.run(100 * MS)
    assert ups_and_downs(b) == ["up", "down", "up"]
    (_, up) = b.told(PeerUp)
    assert isinstance(up, PeerUp)
    assert up.boot == 2


def test_the_old_process_is_told_that_a_newer_boot_runs() -> None:
    world, a, b = linked()
    newer = Place(1, run=2, boot=2)
    world.places.append(newer)
    world.dial(newer, b)
    world.run(100 * MS)
    assert a.told(Expelled) == [Expelled(b.node, Bye.STALE_BOOT)]
    assert newer.told(Expelled) == []


def test_of_two_processes_with_one_identity_and_boot_the_later_is_expelled() -> None:
    world, a, b = linked()
    twin = Place(1, run=2)
    world.places.append(twin)
    world.dial(twin, b, dial_no=3)
    world.run(100 * MS)
    assert twin.facts == [Expelled(b.node, Bye.TWIN), LinkRejected(3, b.node, Loss.EOF, Bye.TWIN)]
    assert a.told(Expelled) == []
    assert ups_and_downs(b) == ["up"]
    assert b.hub.counters["refused-twin"] == 1


def test_a_twin_that_answers_our_dial_is_expelled_while_the_first_is_alive() -> None:
    world, a, b = linked()
    twin = Place(1, run=2)
    world.places.append(twin)
    world.silent = True
    world.run(2 * SECOND)  # long enough to doubt the link, too short to give the first process up
    world.silent = False
    world.dial(b, twin, dial_no=3)
    world.run(100 * MS)
    assert twin.told(Expelled) == [Expelled(b.node, Bye.TWIN)]
    assert b.told(LinkRejected) == [LinkRejected(3, a.node, Loss.CLOSED, Bye.TWIN)]
    assert a.told(Expelled) == []
    assert ups_and_downs(b) == ["up"]


def test_a_process_with_the_boot_of_one_long_silent_takes_its_place() -> None:
    world, a, b = linked()
    world.silent = True
    world.run(a.config.alive_us + 100 * MS)
    world.silent = False
    world.places.remove(a)
    again = Place(1, run=2)
    world.places.append(again)
    world.dial(again, b)
    world.run(100 * MS)
    assert again.told(Expelled) == []
    assert ups_and_downs(b) == ["up", "down", "up"]


def test_an_older_boot_than_known_is_refused_and_learns_why() -> None:
    world, a, b = pair()
    new, old = Place(1, run=2, boot=5), a
    world.places.append(new)
    world.dial(new, b)
    world.run(100 * MS)
    world.kill(new)
    world.run(100 * MS)
    world.dial(old, b)
    world.run(100 * MS)
    assert old.told(Expelled) == [Expelled(b.node, Bye.STALE_BOOT)]
    assert b.hub.peers() == ()


def test_a_restarted_peer_begins_a_new_session() -> None:
    world, a, b = linked()
    world.post(b, a, b"one")
    world.run(50 * MS)
    world.kill(a)
    world.run(50 * MS)
    world.post(b, a, b"for the dead")
    again = Place(1, run=2, boot=2)
    world.places.append(again)
    world.dial(again, b)
    world.run(100 * MS)
    world.post(b, again, b"two")
    world.post(again, b, b"three")
    world.run(100 * MS)
    assert again.bodies() == [b"two"]
    assert b.bodies() == [b"three"]
    assert b.hub.counters["frame-lost"] == 1


def test_a_node_does_not_link_to_itself() -> None:
    a = Place(1)
    world = World(a)
    world.dial(a, a, dial_no=4)
    world.run(1 * SECOND)
    assert a.facts == [LinkRejected(4, a.node, Loss.CLOSED, Bye.SELF)]
    assert world.open_links() == []


def test_another_mesh_is_refused_by_name() -> None:
    a, b = Place(1, mesh=MeshId("theirs")), Place(2)
    world = World(a, b)
    world.dial(a, b, dial_no=2)
    world.run(1 * SECOND)
    assert a.facts == [LinkRejected(2, b.node, Loss.EOF, Bye.WRONG_MESH)]
    assert b.facts == []
    assert b.hub.counters["refused-wrong-mesh"] == 1


def test_a_dial_that_is_reset_before_welcome_is_rejected_without_a_goodbye() -> None:
    world, a, b = pair(latency_us=10 * MS)
    near, _ = world.dial(a, b, dial_no=2)
    world.run(5 * MS)
    world.reset(near)
    world.run(1 * SECOND)
    assert a.facts == [LinkRejected(2, b.node, Loss.RESET, "")]


def test_silence_after_tls_ends_the_handshake_after_its_time() -> None:
    world, a, b = pair()
    world.silent = True
    world.dial(a, b, dial_no=2)
    world.run(4 * SECOND)
    assert a.facts == []
    world.run(2 * SECOND)
    assert a.facts == [LinkRejected(2, b.node, Loss.SILENT, "")]
    assert b.facts == []
    world.run(5 * SECOND)
    assert world.open_links() == []


def test_an_idle_link_stays_up_and_costs_few_bytes() -> None:
    world, a, b = linked()
    world.run(10 * SECOND)
    before = (a.bytes_sent, b.bytes_sent)
    world.run(60 * SECOND)
    spent = [(now - then) / 60 for now, then in zip((a.bytes_sent, b.bytes_sent), before, strict=True)]
    assert ups_and_downs(a) == ups_and_downs(b) == ["up"]
    assert max(spent) < 60, f"{spent} bytes a second: three links must stay far below 1 KB/s"


def test_only_one_side_pings_and_both_know_the_round_trip() -> None:
    world, a, b = linked(latency_us=20 * MS)
    assert b.hub.rtt_us(a.node) == a.hub.rtt_us(b.node) == 40 * MS
    writes = b.writes
    world.run(30 * SECOND)
    assert b.writes - writes <= 31
    stats = b.hub.stats(a.node)
    assert stats is not None
    assert (stats.rtt_us, stats.ahead_ms) == (40 * MS, 0)


def test_who_only_listens_is_heard_all_the_same() -> None:
    """Otherwise one who tells much would have to ask each of its listeners whether it is still there."""
    world, a, b = linked()
    longest_us = last_us = 0
    for _ in range(60):
        world.tell(b, Send(a.node, Channel.GOSSIP, b"news"))
        world.run(500 * MS)
        heard_us = b.hub.last_heard_us(a.node) or 0
        longest_us, last_us = max(longest_us, heard_us - last_us if last_us else 0), heard_us
    assert SECOND // 2 < longest_us <= a.config.idle_ping_us + 200 * MS


def test_links_that_are_due_soon_are_pinged_in_one_waking() -> None:
    places = [Place(number) for number in range(1, 6)]
    world = World(*places)
    for number, other in enumerate(places[1:]):
        world.dial(places[0], other, dial_no=number + 1, later_us=number * 20 * MS)
    world.run(20 * SECOND)
    me, wakes = places[0], 0
    deadline = me.hub.deadline()
    for _ in range(4000):
        world.run(10 * MS)
        wakes += me.hub.deadline() != deadline
        deadline = me.hub.deadline()
    assert wakes <= 3 * 40 * SECOND // me.config.idle_us(4), "one waking, or two, for four links"


def test_the_slower_end_of_a_link_sets_its_pace_and_the_other_one_waits_for_it() -> None:
    """Otherwise a default node would ping an edge node, and miss its pings, as often as any other one."""
    for edge_dials in (True, False):
        usual, edge = Place(1), edge_place(2)
        world = World(usual, edge)
        world.dial(*((edge, usual) if edge_dials else (usual, edge)))
        world.run(10 * SECOND)
        writes = usual.writes + edge.writes
        world.run(100 * SECOND)
        assert usual.writes + edge.writes - writes <= 2 * 100 * SECOND // EDGE_PING_US + 2
        world.silent = True
        world.run(edge.config.silent_us - 2 * EDGE_PING_US)
        assert usual.told(PeerDown) == edge.told(PeerDown) == []
        world.run(3 * EDGE_PING_US)
        assert len(usual.told(PeerDown)) == len(edge.told(PeerDown)) == 1


def test_a_peer_that_tells_no_pace_or_a_boundless_one_is_pinged_within_bounds() -> None:
    link = Link(LinkOpened(LinkId(1), node_id(2), "n2", inbound=False), Place(1).config, Instant(0, 0))
    link.keep_pace(0)
    assert link.pace_us == Place(1).config.idle_ping_max_us
    assert link.idle_us == Place(1).config.idle_ping_us
    link.keep_pace(2**61)
    assert link.pace_us == link.idle_us == PACE_MAX_US
    with pytest.raises(ValueError, match="crowded_ping_us"):
        Place(1, crowded_ping_us=PACE_MAX_US + 1)


def edge_place(number: int) -> Place:
    place = Place(number)
    place.config = place.config.of_profile("edge")
    place.hub = Hub(place.config, Random(number))
    return place


def test_more_links_than_allowed_are_closed() -> None:
    a = Place(1, links_max=2)
    others = [Place(n) for n in range(2, 6)]
    world = World(a, *others)
    for other in others:
        world.dial(other, a)
    world.run(1 * SECOND)
    assert len(a.hub.peers()) == 2
    assert a.hub.counters["link-no-room"] == 2


def test_a_peer_that_does_not_read_gets_no_more_than_its_window() -> None:
    world, a, b = linked()
    world.silent = True
    window = b.config.window_bytes
    world.post(a, b, *[b"x" * 60_000] * 60)
    sent = a.bytes_sent
    assert window <= sent < window + 100_000
    world.post(a, b, *[b"x" * 60_000] * 600)
    assert a.bytes_sent == sent
    assert a.hub.counters["post-queue-full"] > 0
    world.send(a, b, b"control is not limited by credit")
    assert a.bytes_sent > sent


def test_far_more_than_a_window_gets_through_as_credit_comes_back() -> None:
    world, a, b = linked()
    bodies = [bytes([n]) * 100_000 for n in range(40)]
    world.post(a, b, *bodies)
    world.run(1 * SECOND)
    assert b.bodies() == bodies


def test_rejects_are_told_only_for_junk() -> None:
    world, a, b = linked()
    world.send(a, b, b"x" * 1000)
    world.run(20 * SECOND)
    assert b.told(Reject) == []


def test_two_dials_of_one_node_at_once_leave_one_link() -> None:
    world, a, b = pair()
    world.dial(a, b, dial_no=1)
    world.dial(a, b, dial_no=2)
    world.run(100 * MS)
    assert a.told(LinkRejected) == [LinkRejected(2, b.node, Loss.REPLACED, Bye.DUPLICATE_LINK)]
    assert ups_and_downs(a) == ups_and_downs(b) == ["up"]
    assert len(world.open_links()) == 2
