"""How links end, and what leaves on them at the end of a turn."""

from meshnode.kernel.effects import Channel, Hangup, Send
from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.reasons import Bye, Loss
from meshnode.links.messages import (
    LinkRejected,
    PeerDown,
    Shutdown,
    Transmit,
)
from tests.unit.links.test_stories import linked, pair


def test_a_silent_peer_is_down_after_its_time_and_not_before() -> None:
    world, a, b = linked()
    world.silent = True
    world.run(a.config.silent_us - 2 * SECOND)
    assert a.told(PeerDown) == []
    world.run(4 * SECOND)
    assert a.told(PeerDown) == [PeerDown(b.node, Loss.SILENT, "")]
    assert b.told(PeerDown) == [PeerDown(a.node, Loss.SILENT, "")]


def test_a_killed_peer_is_down_as_soon_as_the_reset_comes() -> None:
    world, a, b = linked()
    world.kill(b)
    world.run(2 * MS)
    assert a.told(PeerDown) == [PeerDown(b.node, Loss.RESET, "")]
    assert a.hub.peers() == ()
    assert a.hub.last_heard_us(b.node) is None


def test_a_node_that_shuts_down_says_so_and_takes_no_more_links() -> None:
    world, a, b = linked()
    world.tell(a, Shutdown())
    world.run(100 * MS)
    world.dial(b, a, dial_no=8)
    world.run(100 * MS)
    assert b.told(PeerDown) == [PeerDown(a.node, Loss.EOF, Bye.SHUTDOWN)]
    assert a.told(PeerDown) == [PeerDown(b.node, Loss.CLOSED, "")]
    assert b.told(LinkRejected) == [LinkRejected(8, a.node, Loss.EOF, Bye.SHUTDOWN)]
    assert world.open_links() == []


def test_a_hangup_tells_the_reason() -> None:
    world, a, b = linked()
    world.tell(a, Hangup(b.node, Bye.EVICTED))
    world.run(100 * MS)
    assert b.told(PeerDown) == [PeerDown(a.node, Loss.EOF, Bye.EVICTED)]
    assert a.told(PeerDown) == [PeerDown(b.node, Loss.CLOSED, "")]


def test_all_letters_of_a_turn_leave_a_link_as_one_piece_at_its_end() -> None:
    world, a, b = linked()
    letters = [Send(b.node, Channel.GOSSIP, bytes([number])) for number in range(3)]
    assert [a.hub.take(letter, world.now) for letter in letters] == [[], [], []]
    pieces = a.hub.flush(world.now)
    assert [type(piece) for piece in pieces] == [Transmit]
    assert a.hub.flush(world.now) == []
    world.perform(a, pieces)
    world.run(10 * MS)
    assert b.bodies() == [b"\0", b"\1", b"\2"]


def test_what_waits_for_the_end_of_a_turn_leaves_before_a_goodbye() -> None:
    world, a, b = linked()
    assert a.hub.take(Send(b.node, Channel.GOSSIP, b"last words"), world.now) == []
    said = a.hub.take(Hangup(b.node, Bye.EVICTED), world.now)
    assert [type(each) for each in said] == [Transmit, PeerDown]
    world.perform(a, said)
    world.perform(a, a.hub.flush(world.now))
    world.run(100 * MS)
    assert b.bodies() == [b"last words"]
    assert b.told(PeerDown) == [PeerDown(a.node, Loss.EOF, Bye.EVICTED)]


def test_what_waits_leaves_before_the_goodbyes_of_a_shutdown() -> None:
    world, a, b = linked()
    assert a.hub.take(Send(b.node, Channel.GOSSIP, b"last words"), world.now) == []
    for effect in a.hub.handle(Shutdown(), world.now):
        world.perform(a, [effect])
    world.run(100 * MS)
    assert b.bodies() == [b"last words"]
    assert b.told(PeerDown) == [PeerDown(a.node, Loss.EOF, Bye.SHUTDOWN)]


def test_a_link_that_was_heard_wakes_nobody_before_its_time() -> None:
    """Its timer is set again when it comes first: the node is woken for pings, not for what was due before."""
    world, a, b = linked()
    began_us, woken = world.now_us, 0
    while world.now_us < began_us + 20 * SECOND:
        due_us = a.hub.deadline()
        assert due_us is not None
        if due_us > world.now_us + 100 * MS:
            world.send(b, a, b"news")
            world.run(100 * MS)
            continue
        world.run(max(0, due_us - world.now_us) + 1)
        woken += 1
    pings = 20 * SECOND // a.config.idle_ping_us
    assert woken <= pings + 4, "who only listens pings now and then, measures the path, and acknowledges"


def test_hanging_up_a_peer_without_a_link_does_nothing() -> None:
    world, a, b = pair()
    assert world.tell(a, Hangup(b.node, Bye.EVICTED)) == []
