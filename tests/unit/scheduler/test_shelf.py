"""What others tell is bounded, and replaced by what they tell next."""

from meshnode.kernel.epochs import Epoch
from meshnode.model.ids import AgentName, InstanceId
from meshnode.scheduler.messages import Claim
from meshnode.scheduler.shelf import Shelf
from tests.unit.scheduler.town import id_of

WORDS = AgentName("words")
BETA = id_of("beta")


def claim(slot: int, counter: int = 1, refusal: str = "") -> Claim:
    return Claim(BETA, InstanceId(f"words/{slot}"), Epoch(counter, BETA), running=True, refusal=refusal)


def test_a_peer_that_tells_of_too_many_units_is_believed_up_to_the_bound() -> None:
    shelf = Shelf(known_max=3)
    shelf.hear(BETA, WORDS, [claim(slot) for slot in range(9)], 0, believed=True)
    assert list(shelf.books[WORDS].units) == ["words/0", "words/1", "words/2"]
    for unit in shelf.of_node(BETA):
        shelf.forget(unit)
    shelf.hear(BETA, WORDS, [claim(7)], 0, believed=True)
    assert list(shelf.books[WORDS].units) == ["words/7"]


def test_the_same_told_again_is_no_reason_to_judge_anew() -> None:
    shelf = Shelf(known_max=9)
    shelf.hear(BETA, WORDS, [claim(0)], 0, believed=True)
    shelf.dirty.clear()
    shelf.hear(BETA, WORDS, [claim(0)], 1, believed=True)
    assert shelf.dirty == {}


def test_a_refusal_takes_the_place_of_a_claim_at_once_and_a_silence_a_moment_later() -> None:
    shelf = Shelf(known_max=9)
    shelf.hear(BETA, WORDS, [claim(0), claim(1)], 0, believed=True)
    shelf.hear(BETA, WORDS, [claim(0, 0, "it failed here")], 5, believed=True)
    first, second = shelf.books[WORDS].units.values()
    assert (first.claims, first.refusals) == ({}, {BETA: "it failed here"})
    assert (list(second.claims), second.gone) == ([BETA], {BETA: 5})
    shelf.hear(BETA, WORDS, [claim(1)], 6, believed=True)
    assert first.refusals == {}
    assert second.gone == {}


def test_a_node_that_is_down_is_not_believed_a_moment_longer() -> None:
    shelf = Shelf(known_max=9)
    shelf.hear(BETA, WORDS, [claim(0)], 0, believed=True)
    shelf.hear(BETA, WORDS, [], 5, believed=False)
    assert shelf.books[WORDS].units[InstanceId("words/0")].claims == {}
    assert shelf.of_node(BETA) == []
