"""Tunnels between three machines without a network: what passes, what is refused by which name, who pays."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.effects import Dial, Effect, Reject
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.reasons import Loss
from meshnode.links.carriage import RelayConfig
from meshnode.links.messages import PeerDown, Post
from meshnode.links.tunnels import OPEN_US, Tunnels
from meshnode.links.tunnelwire import (
    RELAY_PORT,
    WINDOW_BYTES,
    Credit,
    Open,
    RelayNeeded,
    TunnelBytes,
    TunnelClosed,
    TunnelCredit,
    TunnelFailed,
    TunnelGone,
    TunnelReceived,
    TunnelStart,
    TunnelWritten,
    frame_of,
    relay_at,
    relay_host,
)
from meshnode.model.ids import UNKNOWN_NODE, NodeId
from meshnode.wire.frame import Frame, Kind

ANN, REL, BEN, EVE = (NodeId(letter * 32) for letter in (b"a", b"r", b"b", b"e"))
ANNS, BENS = 2, 3  # the first numbers on their links: even of the smaller id, odd of the relay
NAMES = {ANN: "ann", REL: "rel", BEN: "ben", EVE: "eve"}
EffectT = TypeVar("EffectT", bound=Effect)
DIAL = Dial(1, relay_host(REL), RELAY_PORT, BEN)


@dataclass
class Ways:
    """Links of one node: to whom, and through whom."""

    linked: dict[NodeId, NodeId] = field(default_factory=dict[NodeId, NodeId])
    doors: dict[NodeId, tuple[str, int]] = field(default_factory=dict[NodeId, tuple[str, int]])

    def last_heard_us(self, peer: NodeId) -> int | None:
        return 0 if peer in self.linked else None

    def via(self, peer: NodeId) -> NodeId:
        return self.linked.get(peer, UNKNOWN_NODE)

    def door(self, peer: NodeId, known: Sequence[tuple[str, int]]) -> tuple[str, int] | None:
        return next(iter(known), None) or self.doors.get(peer)


class Three:
    """Ann and Ben, who hold links to a relay alone. What the hosts are asked to do is kept."""

    def __init__(self, config: RelayConfig | None = None) -> None:
        self.now_us = 0
        self.clients = {ANN: None, BEN: None}
        self.addresses: dict[NodeId, tuple[tuple[str, int], ...]] = {}
        self.ways = {
            ANN: Ways({REL: UNKNOWN_NODE}), BEN: Ways({REL: UNKNOWN_NODE}),
            REL: Ways({ANN: UNKNOWN_NODE, BEN: UNKNOWN_NODE, EVE: UNKNOWN_NODE}),
        }  # fmt: skip
        config = config or RelayConfig(carries=True)
        self.nodes = {
            node: Tunnels(
                config,
                me=node,
                ways=ways,
                is_client=self.clients.__contains__,
                name_of=lambda n: NAMES.get(n, "?"),
                addresses_of=lambda n: self.addresses.get(n, ()),
                secret=node,
            )
            for node, ways in self.ways.items()
        }
        self.told: dict[NodeId, list[Effect]] = {node: [] for node in self.nodes}

    @property
    def now(self) -> Instant:
        return Instant(mono_us=self.now_us, wall_ms=0)

    def act(self, node: NodeId, effects: list[Effect]) -> None:
        for effect in effects:
            if not isinstance(effect, Post):
                self.told[node].append(effect)
            elif effect.peer in self.nodes:
                for frame in effect.frames:
                    told = self.nodes[effect.peer].handle(TunnelReceived(node, frame), self.now)
                    self.act(effect.peer, told)
            else:
                self.told[node].append(effect)

    def give(self, node: NodeId, event: Dial | TunnelWritten | TunnelClosed | PeerDown | TunnelReceived) -> None:
        self.act(node, self.nodes[node].handle(event, self.now))

    def wait(self, for_us: int) -> None:
        self.now_us += for_us
        for node, tunnels in self.nodes.items():
            due_us = tunnels.deadline()
            if due_us is not None and due_us <= self.now_us:
                self.act(node, tunnels.wake(self.now))

    def opened(self) -> tuple[int, int]:
        """A tunnel from Ann to Ben, by the numbers that their hosts know it by."""
        before = [len(self.of(node, TunnelStart)) for node in (ANN, BEN)]
        self.give(ANN, DIAL)
        (ours,), (theirs,) = (self.of(node, TunnelStart)[n:] for node, n in zip((ANN, BEN), before, strict=True))
        assert (ours.peer, ours.inbound, ours.dial_no, theirs.peer, theirs.inbound) == (BEN, False, 1, ANN, True)
        return ours.tunnel, theirs.tunnel

    def of(self, node: NodeId, kind: type[EffectT]) -> list[EffectT]:
        return [effect for effect in self.told[node] if isinstance(effect, kind)]

    def heard(self, node: NodeId) -> bytes:
        return b"".join(effect.data for effect in self.of(node, TunnelBytes))

    def failure(self) -> str:
        (failed,) = self.of(ANN, TunnelFailed)
        return failed.detail


@given(pieces=st.lists(st.tuples(st.booleans(), st.binary(min_size=1, max_size=900)), max_size=40))
def test_bytes_come_out_as_they_went_in_both_ways(pieces: list[tuple[bool, bytes]]) -> None:
    three = Three()
    ends = dict(zip((ANN, BEN), three.opened(), strict=True))
    for forth, data in pieces:
        sender = ANN if forth else BEN
        three.give(sender, TunnelWritten(ends[sender], data))
    assert three.heard(BEN) == b"".join(data for forth, data in pieces if forth)
    assert three.heard(ANN) == b"".join(data for forth, data in pieces if not forth)
    assert three.nodes[REL].carriage.bytes_carried == sum(len(data) for _, data in pieces)


PIECES = st.lists(
    st.tuples(
        st.sampled_from([ANN, BEN, EVE]), st.sampled_from([Kind.TUNNEL_DATA] * 4 + [Kind.TUNNEL_CREDIT]),
        st.sampled_from([ANNS, BENS, BENS + 2]), st.integers(0, WINDOW_BYTES // 2), st.integers(0, SECOND),
    ),
    max_size=40,
)  # fmt: skip


@given(pieces=PIECES, opened=st.booleans(), a_second=st.sampled_from([1000, 1 << 20, 1 << 26]))
def test_what_the_links_pass_on_by_themselves_is_what_the_carriage_would_have_made_of_it(
    pieces: list[tuple[NodeId, Kind, int, int, int]], opened: bool, a_second: int
) -> None:
    """Both ways fed the same, whatever comes: to the same receivers go the same frames, and it costs the same."""
    config = RelayConfig(carries=True, bytes_per_s=a_second, burst_bytes=300_000)
    quick, slow = Three(config), Three(config)
    for three in (quick, slow) if opened else ():
        three.opened()
    total = WINDOW_BYTES
    for peer, kind, number, amount, later_us in pieces:
        total += amount if kind is Kind.TUNNEL_CREDIT else 0
        of_credit = frame_of(kind, number, Credit(total))
        frame = of_credit if kind is Kind.TUNNEL_CREDIT else frame_of(kind, number, data=bytes(amount))
        for three in (quick, slow):
            three.now_us += later_us
        assert _carried(quick, peer, frame) == slow.nodes[REL].handle(TunnelReceived(peer, frame), slow.now)
    ours, theirs = quick.nodes[REL].carriage, slow.nodes[REL].carriage
    assert ours.bytes_carried == theirs.bytes_carried
    assert ours._purses == theirs._purses and ours._legs == theirs._legs


def _carried(three: Three, peer: NodeId, frame: Frame) -> list[Effect]:
    """As the links do it."""
    if frame.kind is Kind.TUNNEL_DATA:
        passed = three.nodes[REL].carriage.pass_on(peer, frame, three.now)
        if passed is not None:
            return [Post(passed[0], (passed[1],))]
    return three.nodes[REL].handle(TunnelReceived(peer, frame), three.now)


def test_credit_comes_back_half_a_window_at_a_time_and_bounds_what_is_under_way() -> None:
    three = Three()
    ours, _ = three.opened()
    half = bytes(WINDOW_BYTES // 2)
    for round_no in range(1, 9):
        three.give(ANN, TunnelWritten(ours, half))
        assert three.of(ANN, TunnelCredit)[-1].total == round_no * len(half) + WINDOW_BYTES


def test_more_than_the_credit_ends_the_tunnel_by_name_and_leaves_the_link() -> None:
    three = Three()
    three.opened()
    for _ in range(2):  # a member with its own program: the relay gives no credit back for bytes it did not pass on
        frame = frame_of(Kind.TUNNEL_DATA, ANNS, data=bytes(WINDOW_BYTES + 1))
        three.give(REL, TunnelReceived(ANN, frame))
    assert [reject.reason for reject in three.of(REL, Reject)] == ["tunnel-credit"]
    assert [gone.reason for node in (ANN, BEN) for gone in three.of(node, TunnelGone)] == ["tunnel-credit"] * 2
    assert three.nodes[REL].carriage.tunnels == 0
    assert three.nodes[REL].counters["tunnel-unknown"] == 1


@pytest.mark.parametrize("total", [0, 10 * WINDOW_BYTES])
def test_credit_that_shrinks_or_is_too_much_ends_the_tunnel(total: int) -> None:
    three = Three()
    three.opened()
    three.give(REL, TunnelReceived(BEN, frame_of(Kind.TUNNEL_CREDIT, BENS, Credit(total))))
    assert three.nodes[REL].counters["tunnel-credit"] == 1
    assert three.nodes[REL].carriage.tunnels == 0


def test_each_refusal_has_its_name() -> None:
    assert _refused(RelayConfig()) == "relay rel: relay-off"
    assert _refused(RelayConfig(carries=True, tunnels_max=1), before=1) == "relay rel: relay-full"
    assert _refused(RelayConfig(carries=True, clients_max=1), other=True) == "relay rel: relay-full"
    assert _refused(RelayConfig(carries=True, tunnels_per_client_max=1), before=1) == "relay rel: relay-quota"
    assert _refused(RelayConfig(carries=True, burst_bytes=1, open_bytes=9), before=1) == "relay rel: relay-quota"
    assert _refused(RelayConfig(carries=True), unlink=True) == "relay rel: relay-no-client"
    assert _refused(RelayConfig(carries=True), forget=True) == "relay rel: relay-unknown"
    assert _refused(RelayConfig(carries=True), loop=True) == "relay rel: relay-loop"


def _refused(
    config: RelayConfig, *, before: int = 0, unlink: bool = False, forget: bool = False, loop: bool = False,
    other: bool = False,
) -> str:  # fmt: skip
    three = Three(config)
    if other:  # Eve has one already
        three.give(REL, TunnelReceived(EVE, frame_of(Kind.TUNNEL_OPEN, 8, Open(BEN, EVE))))
    for _ in range(before):
        three.opened()
    if unlink:
        del three.ways[REL].linked[BEN]
    if forget:
        del three.clients[BEN]
    if loop:
        three.ways[REL].linked[BEN] = EVE
    three.give(ANN, DIAL)
    reason = three.failure().rpartition(" ")[2]
    assert three.nodes[REL].counters[reason] == 1, "it is counted where it is refused"
    return three.failure()


def test_nobody_may_ask_in_the_name_of_another() -> None:
    three = Three()
    three.give(REL, TunnelReceived(EVE, frame_of(Kind.TUNNEL_OPEN, 8, Open(BEN, ANN))))
    assert three.nodes[REL].counters["relay-loop"] == 1
    assert not three.of(BEN, TunnelStart)


def test_a_client_in_debt_waits_for_credit_and_gets_it_when_he_has_paid() -> None:
    rate = WINDOW_BYTES // 4
    three = Three(RelayConfig(carries=True, bytes_per_s=rate, burst_bytes=WINDOW_BYTES, open_bytes=1))
    ours, _ = three.opened()
    written = 0
    while written < WINDOW_BYTES:
        three.give(ANN, TunnelWritten(ours, bytes(WINDOW_BYTES // 4)))
        written += WINDOW_BYTES // 4
    three.give(ANN, TunnelWritten(ours, bytes(WINDOW_BYTES // 4)))
    granted = three.of(ANN, TunnelCredit)[-1].total
    three.give(ANN, TunnelWritten(ours, bytes(granted - written - WINDOW_BYTES // 4)))
    assert three.of(ANN, TunnelCredit)[-1].total == granted, "in debt: nothing more yet"
    assert three.nodes[REL].counters["relay-slowed"] >= 1
    three.wait(3 * SECOND)
    assert three.of(ANN, TunnelCredit)[-1].total > granted
    assert three.heard(BEN) == bytes(granted)


def test_a_tunnel_ends_with_the_link_to_its_relay_and_with_either_end() -> None:
    three = Three()
    three.opened()
    three.give(ANN, PeerDown(REL, Loss.RESET, ""))
    assert [gone.reason for gone in three.of(ANN, TunnelGone)] == ["relay-lost"]
    three.give(REL, PeerDown(ANN, Loss.RESET, ""))
    assert [gone.reason for gone in three.of(BEN, TunnelGone)] == ["relay-client-lost"]
    again = Three()
    _, theirs = again.opened()
    again.give(BEN, TunnelClosed(theirs))
    assert [gone.reason for gone in again.of(ANN, TunnelGone)] == ["tunnel-closed"]
    assert again.nodes[REL].carriage.tunnels == 0


def test_a_relay_that_is_not_linked_is_asked_for_and_a_silent_one_not_waited_for() -> None:
    three = Three()
    three.ways[ANN].linked.clear()
    three.give(ANN, DIAL)
    assert three.of(ANN, RelayNeeded) == [RelayNeeded(REL)]
    three.wait(OPEN_US)
    assert three.failure() == "relay rel: no tunnel within 3 s"


def test_a_tunnel_is_never_dialled_through_a_tunnel_or_oneself() -> None:
    three = Three()
    three.ways[ANN].linked[REL] = EVE
    three.give(ANN, DIAL)
    assert three.failure() == "relay rel: relay-loop"
    other = Three()
    other.give(ANN, Dial(1, relay_host(ANN), RELAY_PORT, BEN))
    assert "no way through a relay" in other.failure()


@pytest.mark.parametrize("host", ["relay/", "relay/zz", "relay/" + "ab" * 31, "relay/" + "ab" * 33, "relay/a b"])
def test_a_relay_that_nobody_can_read_is_none(host: str) -> None:
    assert relay_at(host) == UNKNOWN_NODE
    assert relay_at("10.0.0.1") is None
    assert relay_at(relay_host(REL)) == REL


def test_junk_is_refused_by_name() -> None:
    three = Three()
    three.give(REL, TunnelReceived(ANN, frame_of(Kind.TUNNEL_OPEN, 4)))
    assert [reject.reason for reject in three.of(REL, Reject)] == ["tunnel-malformed"]
