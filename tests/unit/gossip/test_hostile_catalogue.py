"""A spokesman that says something else of its region all the time: it is named, and soon hardly anybody hears of it."""

import msgspec

from meshnode.gossip.catalogue import CONTEXT, RowBody
from meshnode.gossip.letters import Push, RegionRumour, encode
from meshnode.gossip.manners import WORD_BURST, WORD_EVERY_US
from meshnode.kernel.effects import Effect, Send
from meshnode.kernel.instant import SECOND
from tests.unit.gossip.liar import Liar, reasons
from tests.unit.gossip.world import Box, World, mesh


def spokesman() -> tuple[World, Box, Liar, list[Box]]:
    world, boxes = mesh(4)
    return world, boxes[0], Liar(world, boxes[3]), boxes


def word(liar: Liar, sequence: int, name: str = "see") -> Push:
    body = msgspec.msgpack.encode(RowBody(liar.id, sequence, liar.box.region, name, sequence % 3, "cpu"))
    return Push(encode(RegionRumour(body, liar.box.key.sign(CONTEXT, body))))


def passed_on(effects: list[Effect], liar: Liar) -> int:
    """Letters to others than it."""
    return sum(isinstance(effect, Send) and effect.peer != liar.id for effect in effects)


def test_who_changes_one_word_without_end_is_named_and_passed_on_ever_more_rarely() -> None:
    world, victim, liar, _ = spokesman()
    done = [passed_on(liar.send(victim, word(liar, number)), liar) for number in range(1, 100)]
    assert reasons(victim) == ["flood-catalogue"]
    (told, *_) = [reject for reject in victim.rejects if reject.reason == "flood-catalogue"]
    assert told.peer == liar.id and "see" in told.detail
    assert sum(count > 0 for count in done) <= WORD_BURST
    world.run_for(WORD_EVERY_US / SECOND + 0.1)
    assert passed_on(liar.send(victim, word(liar, 200)), liar) > 0


def test_words_about_many_things_are_an_honest_spokesmans() -> None:
    _, victim, liar, _ = spokesman()
    liar.send(victim, *(word(liar, 1, f"skill{number}") for number in range(200)))
    assert victim.rejects == []
