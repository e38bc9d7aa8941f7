"""The fuzzers of sessions, parts and tunnels: what they have found stays mended, and they find what is planted."""

import msgspec
import pytest

from meshnode.kernel.effects import Reject
from meshnode.kernel.instant import Instant
from meshnode.links.carriage import Carriage
from meshnode.links.session import Session
from meshnode.links.tunnelwire import Open, TunnelReceived, frame_of
from meshnode.model.ids import NodeId
from meshnode.wire.frame import Frame, Kind
from meshnode.wire.parts import Assembly, PartHeader
from tests.fuzz import fuzz_parts, fuzz_sessions, fuzz_tunnels
from tests.fuzz.driver import replay

_encode = msgspec.msgpack.Encoder().encode


def test_every_program_of_the_corpora_keeps_its_promises() -> None:
    assert replay(fuzz_sessions.one_input, fuzz_sessions.CORPUS, fuzz_sessions.Years) >= 25
    assert replay(fuzz_tunnels.one_input, fuzz_tunnels.CORPUS) >= 19
    assert replay(fuzz_parts.one_input, fuzz_parts.CORPUS) >= 15


def test_parts_that_are_put_together_as_they_come_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: whatever a part says of its place, it is the next."""
    take = Assembly.take

    def gullible(self: Assembly, frame: Frame) -> Frame | None:
        begun = self._begun.get(frame.stream)
        told = PartHeader(begun.have) if begun is not None else None
        return take(self, frame if told is None else Frame(Kind.PART, 1, frame.stream, _encode(told), frame.payload))

    monkeypatch.setattr(Assembly, "take", gullible)
    with pytest.raises(AssertionError):
        replay(fuzz_parts.one_input, fuzz_parts.CORPUS)


def test_a_session_that_takes_a_frame_twice_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: whatever comes counts as new."""

    def gullible(self: Session, number: int, frame: Frame, now: Instant) -> bool:
        self.received = max(self.received, number)
        return True

    def forgetful(self: Session, total: int) -> None:
        """Nothing is acknowledged, so all of it is sent again."""

    monkeypatch.setattr(Session, "accept", gullible)
    monkeypatch.setattr(Session, "_forget_until", forgetful)
    with pytest.raises(AssertionError):
        replay(fuzz_sessions.one_input, fuzz_sessions.CORPUS, fuzz_sessions.Years)


def test_a_call_that_goes_over_to_the_lane_at_once_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: nobody waits until what went before by the link has been acknowledged."""
    monkeypatch.setattr(Session, "holds", lambda _session, _call: False)
    with pytest.raises(AssertionError, match="out of order"):
        replay(fuzz_sessions.one_input, fuzz_sessions.CORPUS, fuzz_sessions.Years)


def test_a_relay_that_forgets_one_leg_of_a_tunnel_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    end = Carriage._end

    def careless(self: Carriage, key, leg, reason: str):  # noqa: ANN001, ANN202 - the machine's own
        effects = end(self, key, leg, reason)
        self._legs[leg.other] = leg
        return effects

    monkeypatch.setattr(Carriage, "_end", careless)
    with pytest.raises((AssertionError, KeyError)):
        replay(fuzz_tunnels.one_input, fuzz_tunnels.CORPUS)


def test_a_relay_whose_pipe_outlives_its_tunnel_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Carriage, "_pipe_gone", lambda _carriage, _leg: [])
    with pytest.raises(AssertionError):
        replay(fuzz_tunnels.one_input, fuzz_tunnels.CORPUS)


def test_a_peer_that_gives_a_tunnel_a_number_of_ours_is_refused() -> None:
    """It could hide a tunnel that this node opens to it under the same number, and so end the node."""
    place = fuzz_tunnels.Place()
    liar, other = fuzz_tunnels.PEERS[0], fuzz_tunnels.PEERS[1]
    ours = 2 if liar > fuzz_tunnels.ME else 3
    asked = frame_of(Kind.TUNNEL_OPEN, ours, Open(other, liar))
    (reject,) = place.tunnels.handle(TunnelReceived(liar, asked), place.now)
    assert isinstance(reject, Reject) and reject.reason == "tunnel-number"
    assert place.tunnels.counters["tunnel-number"] == 1 and not place.tunnels.carriage.tunnels


def test_a_client_in_debt_is_in_debt_when_it_comes_back() -> None:
    """Else whoever breaks its link has a new quota each time."""
    place = fuzz_tunnels.Place()
    client, other = fuzz_tunnels.PEERS[0], fuzz_tunnels.PEERS[1]
    number = 3 if client > fuzz_tunnels.ME else 2
    refused = 0
    for _ in range(40):
        number += 2
        place.hear(client, frame_of(Kind.TUNNEL_OPEN, number, Open(other, client)))
        refused += place.tunnels.counters["relay-quota"]
        place.link(client)
        place.link(client)
        place.check()
    assert refused and place.tunnels.carriage.tunnels == 0


def test_a_refusal_nobody_can_read_leaves_the_dial_to_its_deadline() -> None:
    place = fuzz_tunnels.Place()
    fuzz_tunnels.one_input((fuzz_tunnels.CORPUS / "a-refusal-nobody-reads").read_bytes())
    place.host(2, 9)
    (key,) = place.tunnels._asked
    place.hear(NodeId(key[0]), Frame(Kind.TUNNEL_REFUSED, 0, key[1], b"\xc1"))
    assert key in place.tunnels._asked and place.tunnels.counters["tunnel-malformed"] == 1
    place.link(NodeId(key[0]))
    assert not place.tunnels._asked
