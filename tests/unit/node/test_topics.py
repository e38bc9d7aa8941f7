"""Topics over whole nodes in virtual time: who listens is known by gossip, each node gets one copy."""

from meshnode.kernel.instant import SECOND
from meshnode.messaging.topics import TOPICS_KEY
from meshnode.model.commands import PublishEvent
from meshnode.model.views import PublishedView
from meshnode.node.inputs import TopicsWanted
from meshnode.wire.bus import Spread
from meshnode.wire.events import events_in
from tests.unit.node.mesh import Box, Mesh

TOPIC = "topic/line/3"


def listen(box: Box, *filters: str, door: int = 1) -> None:
    box.tell(TopicsWanted(door, filters))


def publish(box: Box, data: object) -> tuple[int, int]:
    """How many listeners here and how many nodes it went to."""
    view = box.answer(PublishEvent(topic=TOPIC, data=data))
    assert isinstance(view, PublishedView)
    return view.listeners, view.nodes


def heard(box: Box) -> list[bytes]:
    spread = [effect for effect in box.effects if isinstance(effect, Spread)]
    return [payload for effect in spread for frame in effect.frames for payload in events_in(frame)]


def test_who_listens_is_known_to_all_and_each_node_gets_one_copy() -> None:
    mesh = Mesh()
    a, b, c = mesh.start("alpha", "beta", "gamma")
    for door in range(1, 6):
        listen(b, "topic/line/*", door=door)
    listen(c, TOPIC)
    mesh.run(5 * SECOND)
    assert publish(a, 1) == (0, 2)
    mesh.run(SECOND)
    assert publish(c, 2) == (1, 1)
    mesh.run(SECOND)
    assert heard(b) == [b"1", b"2"] and heard(c) == [b"1", b"2"] and heard(a) == []
    (spread,) = [effect for effect in b.effects if isinstance(effect, Spread)][:1]
    assert spread.doors == (1, 2, 3, 4, 5), "one effect for all who listen there"


def test_who_listens_no_more_gets_nothing() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    listen(b, "topic/*")
    mesh.run(5 * SECOND)
    assert publish(a, 1) == (0, 1)
    mesh.run(SECOND)
    listen(b)
    mesh.run(5 * SECOND)
    assert publish(a, 2) == (0, 0) and heard(b) == [b"1"]
    assert TOPICS_KEY not in a.core.gossip.soft(b.node)


def test_a_node_that_was_cut_off_loses_what_was_said_meanwhile_and_hears_again_afterwards() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    listen(b, TOPIC)
    mesh.run(5 * SECOND)
    publish(a, 1)
    mesh.cut("alpha", "beta")
    mesh.run(20 * SECOND)
    publish(a, 2)
    mesh.run(20 * SECOND)
    mesh.heal()
    mesh.until(lambda: bool(a.core.hub.peers()), 120 * SECOND)
    mesh.run(15 * SECOND)
    publish(a, 3)
    mesh.run(2 * SECOND)
    assert heard(b)[0] == b"1" and heard(b)[-1] == b"3" and b"2" not in heard(b)


def test_a_node_that_starts_again_listens_to_nothing_until_it_says_so() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    listen(b, TOPIC)
    mesh.run(5 * SECOND)
    assert publish(a, 1) == (0, 1)
    mesh.kill(b)
    mesh.run(3 * SECOND)
    again = mesh.boot(b)
    mesh.run(20 * SECOND)
    assert publish(a, 2) == (0, 0)
    listen(again, TOPIC)
    mesh.run(5 * SECOND)
    assert publish(a, 3) == (0, 1)
    mesh.run(SECOND)
    assert heard(again) == [b"3"]


def test_beyond_the_region_listeners_of_a_large_mesh_are_reached_too() -> None:
    mesh = Mesh()
    boxes = [
        Box(mesh, name, region=region, roles=("member",), whole_mesh_max=2, seeds=("alpha",) if name != "alpha" else ())
        for name, region in (("alpha", "eu"), ("beta", "us"), ("gamma", "us"), ("delta", "eu"))
    ]
    for box in boxes:
        box.start()
    mesh.run(20 * SECOND)
    a, b = boxes[:2]
    assert not a.core.gossip.holds_all(), "facts of one region stay in it"
    listen(b, TOPIC)
    mesh.run(30 * SECOND)
    assert publish(a, 1) == (0, 1)
    mesh.run(5 * SECOND)
    assert heard(b) == [b"1"]
