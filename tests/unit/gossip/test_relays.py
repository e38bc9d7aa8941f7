"""Which relays a node names that nobody can dial."""

from meshnode.gossip.config import GossipConfig
from meshnode.gossip.directory import Directory
from meshnode.gossip.relays import RELAYS, Address, Relays, direct
from meshnode.links.tunnelwire import RELAY_PORT, relay_host
from meshnode.model.ids import NodeId
from tests.unit.gossip.world import Judge, Members

ME, *OTHERS = (NodeId(bytes([number]) * 32) for number in range(1, 8))
HOME: Address = ("10.0.0.1", 7700)


class Listed(Relays):
    """All others say that they carry."""

    def carries(self, node: NodeId) -> bool:
        return node in OTHERS


def relays(*endpoints: Address) -> Relays:
    config = GossipConfig(node=ME, name="me", region="eu", boot=1, member=b"", endpoints=endpoints)
    return Listed(config, Directory(Judge(), Members()))


def test_who_can_be_dialled_names_no_relay() -> None:
    dialled = relays(HOME)
    assert not dialled.hidden
    assert not dialled.choose(OTHERS)
    assert dialled.endpoints([HOME]) == (HOME,)


def test_two_are_named_and_stay_as_long_as_they_are_linked() -> None:
    hider = relays()
    assert hider.hidden
    assert hider.choose(OTHERS[:3])
    first = list(hider.used)
    assert len(first) == RELAYS
    assert not hider.choose(OTHERS), "others that come change nothing"
    assert hider.endpoints(()) == tuple((relay_host(relay), RELAY_PORT) for relay in first)
    assert hider.choose([peer for peer in OTHERS if peer != first[0]])
    assert first[1] in hider.used and first[0] not in hider.used and len(hider.used) == RELAYS


def test_who_hides_behind_relays_is_still_hidden() -> None:
    hider = relays((relay_host(OTHERS[0]), RELAY_PORT))
    assert hider.hidden
    assert direct([HOME, (relay_host(ME), RELAY_PORT)]) == [HOME]


def test_clients_choose_apart_so_that_every_relay_has_some() -> None:
    named: dict[NodeId, int] = {}
    for number in range(60):
        config = GossipConfig(node=NodeId(bytes([100 + number]) * 32), name="c", region="eu", boot=1, member=b"")
        hider = Listed(config, Directory(Judge(), Members()))
        hider.choose(OTHERS)
        for relay in hider.used:
            named[relay] = named.get(relay, 0) + 1
    assert len(named) == len(OTHERS)
    assert max(named.values()) <= 4 * min(named.values())
