"""Who finds out that nobody can dial it, by whose word, and what a stranger cannot make others dial."""

import pytest

from meshnode.gossip.config import GossipConfig
from meshnode.gossip.dialback import (
    AGAIN_US,
    FAILED,
    FIRST_US,
    HIDDEN_US,
    PROBES_MAX,
    REACHED,
    TRIED_US,
    UNKNOWN,
    WAIT_US,
    Asking,
    Trying,
)
from meshnode.gossip.directory import Directory, Entry, Row, Status, encode_row
from meshnode.gossip.letters import Dialback, SignedRow, Tried, decode
from meshnode.gossip.relays import Address
from meshnode.gossip.row import entry_of
from meshnode.kernel.effects import Dial, Effect, Send
from meshnode.kernel.instant import Instant
from meshnode.kernel.ports import Member
from meshnode.kernel.reasons import DialFailure
from meshnode.links.tunnelwire import RELAY_PORT, relay_host
from meshnode.model.ids import NodeId
from tests.unit.gossip.world import Judge, Members

ME, *OTHERS = (NodeId(bytes([number]) * 32) for number in range(1, 20))
HOME: Address = ("10.0.0.1", 7700)


class Rows(Directory):
    """Each node is at an address of its own, but for those in ``beside``, who are where this one is."""

    def __init__(self, *beside: NodeId) -> None:
        super().__init__(Judge(), Members())
        self._beside = beside

    def entry(self, node: NodeId) -> Entry | None:
        host = "10.0.0.1" if node in self._beside else f"10.0.1.{node[0]}"
        row = Row(node, 1, 0, Status.ALIVE, ((host, 7700), (relay_host(ME), RELAY_PORT)), b"{}", 0)
        signed = SignedRow(encode_row(row), b"", b"")
        return entry_of(row, signed, Member(node, f"n{node[0]}", b"", (), "eu", {}, b""))


def asking(*beside: NodeId, endpoints: tuple[Address, ...] = (HOME,), linked: int = 4) -> Asking:
    made = Asking(GossipConfig(node=ME, name="me", region="eu", boot=1, member=b"", endpoints=endpoints), Rows(*beside))
    made.start(at(0))
    for peer in OTHERS[:linked]:
        made.greeted(peer, dials_back=True)
    return made


def at(us: int) -> Instant:
    return Instant(us, 0)


def asked(made: Asking, now_us: int) -> list[NodeId]:
    effects, news = made.wake(at(now_us))
    assert not news
    return [effect.peer for effect in effects if isinstance(effect, Send)]


def round_of(made: Asking, *outcomes: int) -> bool:
    """Asks when it wants to, and is answered so; whether that was news."""
    due_us = made.deadline()
    assert due_us is not None
    peers = asked(made, due_us)
    assert len(peers) == len(outcomes)
    told = [
        made.answered(peer, Tried(made._number, word), at(due_us)) for peer, word in zip(peers, outcomes, strict=True)
    ]
    return any(told)


def test_two_rounds_in_which_nobody_reached_it_are_believed_and_one_is_not() -> None:
    made = asking()
    assert made.deadline() == FIRST_US
    assert not round_of(made, FAILED, FAILED) and not made.hidden
    assert made.deadline() == FIRST_US + AGAIN_US
    assert round_of(made, FAILED, FAILED) and made.hidden and len(made.tried) == 2
    assert made.deadline() == FIRST_US + AGAIN_US + HIDDEN_US
    assert round_of(made, FAILED, REACHED) and not made.hidden


@pytest.mark.parametrize("outcome", [UNKNOWN, REACHED, 77])
def test_a_word_that_says_nothing_or_good_hides_nobody(outcome: int) -> None:
    made = asking()
    for _ in range(4):
        assert not round_of(made, FAILED, outcome)
    assert not made.hidden


def test_silence_of_those_who_were_asked_says_nothing() -> None:
    made = asking()
    for _ in range(4):
        due_us = made.deadline()
        assert due_us is not None and asked(made, due_us)
        assert made.wake(at(due_us + WAIT_US)) == ([], False)
    assert not made.hidden


def test_a_link_that_came_in_is_proof_and_one_through_a_relay_is_not() -> None:
    made = asking()
    round_of(made, FAILED, FAILED)
    round_of(made, FAILED, FAILED)
    assert not made.came_in("relay/rho", at(0)) and made.hidden
    assert made.came_in("10.0.1.9:4711", at(0)) and not made.hidden


def test_only_those_at_other_addresses_are_asked_and_only_who_offered_it() -> None:
    assert asked(asking(OTHERS[0], OTHERS[1]), FIRST_US) == OTHERS[2:4]
    assert asked(asking(*OTHERS[:3]), FIRST_US) == [], "one word is not enough"
    made = asking(linked=1)
    made.greeted(OTHERS[1], dials_back=False)
    assert asked(made, FIRST_US) == []


def test_who_has_no_address_asks_nobody_and_an_answer_nobody_asked_for_counts_nothing() -> None:
    assert asking(endpoints=()).deadline() is None
    made = asking()
    assert not made.answered(OTHERS[0], Tried(0, FAILED), at(0))
    peers = asked(made, FIRST_US)
    assert not made.answered(OTHERS[9], Tried(1, REACHED), at(FIRST_US))
    assert not made.answered(peers[0], Tried(7, REACHED), at(FIRST_US))


class Prober:
    """The dials of whoever is asked."""

    def __init__(self) -> None:
        self.dials: list[Dial] = []
        self.trying = Trying(Rows(), self.probe)

    def probe(self, node: NodeId, address: Address, now: Instant) -> Dial:
        assert now
        self.dials.append(Dial(len(self.dials) + 1, *address, node))
        return self.dials[-1]

    def ask(self, peer: NodeId, number: int = 5) -> list[Effect]:
        return self.trying.asked(peer, Dialback(number), at(0))


def outcome(effects: list[Effect]) -> int:
    (sent,) = effects
    assert isinstance(sent, Send)
    letter = decode(sent.body)
    assert isinstance(letter, Tried) and letter.number == 5
    return letter.outcome


def test_what_stands_in_the_askers_row_is_dialled_and_nothing_else() -> None:
    prober = Prober()
    assert prober.ask(OTHERS[0]) == [Dial(1, "10.0.1.2", 7700, OTHERS[0])]
    assert outcome(prober.ask(OTHERS[0])) == UNKNOWN, "one errand a neighbour"


@pytest.mark.parametrize(
    ("how", "told"),
    [
        (None, REACHED), (DialFailure.REFUSED, FAILED), (DialFailure.TIMEOUT, FAILED), (DialFailure.UNTRUSTED, FAILED),
        (DialFailure.UNREACHABLE, UNKNOWN),
    ],
)  # fmt: skip
def test_the_end_of_the_dial_is_told(how: DialFailure | None, told: int) -> None:
    prober = Prober()
    prober.ask(OTHERS[0])
    assert outcome(prober.trying.ended(1, how)) == told
    assert prober.trying.ended(1, how) == [] and prober.trying.deadline() is None


def test_a_dial_that_never_ends_is_a_failure_and_dials_for_others_are_few() -> None:
    prober = Prober()
    for peer in OTHERS[:PROBES_MAX]:
        assert isinstance(prober.ask(peer)[0], Dial)
    assert outcome(prober.ask(OTHERS[PROBES_MAX])) == UNKNOWN
    told = prober.trying.wake(at(TRIED_US))
    assert [outcome([effect]) for effect in told] == [FAILED] * PROBES_MAX
    prober.ask(OTHERS[0])
    prober.trying.down(OTHERS[0])
    assert prober.trying.deadline() is None
