"""Of two links to one peer a direct one stays before one through a relay, whoever dialled."""

import pytest

from meshnode.kernel.instant import Instant
from meshnode.kernel.reasons import Bye
from meshnode.links.config import HubConfig
from meshnode.links.hello import Hello
from meshnode.links.link import Link
from meshnode.links.messages import LinkOpened
from meshnode.links.peer import Peer, rival
from meshnode.model.ids import UNKNOWN_NODE, LinkId, MeshId, NodeId, NodeName, Region

SMALL, GREAT, RELAY = (NodeId(letter * 32) for letter in (b"a", b"z", b"r"))
NOW = Instant(1_000_000, 0)


def verdict(me: NodeId, them: NodeId, *, ours: NodeId, theirs: NodeId) -> Bye | None:
    """Both have dialled: by which relays, if any."""
    config = HubConfig(mesh=MeshId("m"), node=me, name=NodeName("me"), region=Region("eu"), boot=1, run_id=b"12345678")
    peer = Peer(them)
    peer.dialling = Link(LinkOpened(LinkId(1), them, "them", inbound=False, relay=ours), config, NOW)
    hello = Hello((1, 1), "m", them, "them", "eu", 1, b"87654321", 1, b"", b"freshfre", 0, 0, 0, 1)
    return rival(peer, hello, config, NOW, tunnelled=bool(theirs))


@pytest.mark.parametrize(("me", "them"), [(SMALL, GREAT), (GREAT, SMALL)])
def test_a_direct_link_stays_before_a_tunnel(me: NodeId, them: NodeId) -> None:
    assert verdict(me, them, ours=UNKNOWN_NODE, theirs=RELAY) is Bye.DUPLICATE_LINK
    assert verdict(me, them, ours=RELAY, theirs=UNKNOWN_NODE) is None


@pytest.mark.parametrize("relay", [UNKNOWN_NODE, RELAY])
def test_of_two_alike_the_dial_of_the_smaller_one_stays(relay: NodeId) -> None:
    assert verdict(SMALL, GREAT, ours=relay, theirs=relay) is Bye.DUPLICATE_LINK
    assert verdict(GREAT, SMALL, ours=relay, theirs=relay) is None
