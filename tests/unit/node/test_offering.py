"""What a node tells of its units: few facts, bursts together, withdrawn when gone."""

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from meshnode.gossip.messages import Publish, SoftChanged
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant
from meshnode.model.ids import AgentName, NodeId
from meshnode.node.offering import PAUSE_US, VERSION_PAUSE_US, Offering
from meshnode.registry.offers import PAGES_MAX, UnitOffer, decode_agent

WORDS, EYES = AgentName("words"), AgentName("eyes")


class Mouth:
    """Takes down what is published; ``units`` is what is so."""

    def __init__(self) -> None:
        self.units: dict[AgentName, list[UnitOffer]] = {}
        self.published: list[Publish] = []
        self.offering = Offering(lambda agent: self.units.get(agent, []), self._publish)

    def _publish(self, publish: Publish, now: Instant) -> Sequence[Effect]:
        self.published.append(publish)
        return ()

    def changed(self, agent: AgentName, at_us: int, *units: UnitOffer) -> None:
        self.units[agent] = list(units)
        self.offering.changed(agent, Instant(at_us, 0))

    def wake(self, at_us: int) -> None:
        self.offering.wake(Instant(at_us, 0))

    def known(self) -> dict[str, bytes]:
        """What others know after all that was published."""
        facts = {publish.key: publish.value for publish in self.published}
        return {key: value for key, value in facts.items() if value}


def unit(slot: int, state: str = "running", **more: object) -> UnitOffer:
    return UnitOffer(slot, 1, state, 1, **more)  # type: ignore[arg-type]


def test_the_first_change_is_told_at_once_and_a_burst_after_it_together() -> None:
    mouth = Mouth()
    mouth.changed(WORDS, 0, unit(0, "starting"))
    assert [publish.key for publish in mouth.published] == ["agent/words"]
    for n in range(1, 40):
        mouth.changed(WORDS, n, unit(0, "starting", restarts=n))
    assert len(mouth.published) == 1 and mouth.offering.deadline() == PAUSE_US
    mouth.wake(PAUSE_US - 1)
    assert len(mouth.published) == 1
    mouth.wake(PAUSE_US)
    assert len(mouth.published) == 2 and mouth.offering.deadline() is None
    offer = decode_agent(mouth.published[-1].value)
    assert offer is not None and offer.ranges[0].restarts == 39


def test_one_agent_does_not_hold_up_another() -> None:
    mouth = Mouth()
    mouth.changed(WORDS, 0, unit(0))
    mouth.changed(EYES, 1, unit(0))
    assert sorted(mouth.known()) == ["agent/eyes", "agent/words"]


def test_what_has_not_changed_is_not_told_again() -> None:
    mouth = Mouth()
    for n in range(5):
        mouth.changed(WORDS, n * 2 * PAUSE_US, unit(0))
    assert len(mouth.published) == 1


def test_an_agent_that_is_gone_is_withdrawn_with_all_its_pages() -> None:
    mouth = Mouth()
    mouth.changed(WORDS, 0, *(unit(slot, reason=f"reason {slot}") for slot in range(200)))
    assert 1 < len(mouth.known()) <= PAGES_MAX
    mouth.changed(WORDS, 2 * PAUSE_US)
    assert mouth.known() == {}
    published = len(mouth.published)
    mouth.changed(WORDS, 4 * PAUSE_US)
    assert len(mouth.published) == published


def test_a_thousand_units_that_are_alike_are_one_fact() -> None:
    mouth = Mouth()
    mouth.changed(WORDS, 0, *(unit(slot) for slot in range(1_000)))
    ((_, value),) = mouth.known().items()
    offer = decode_agent(value)
    assert offer is not None and [(item.first, item.count) for item in offer.ranges] == [(0, 1_000)]


_units = st.lists(st.sampled_from(["starting", "running", "failed"]), max_size=6)


@given(st.lists(st.tuples(st.sampled_from([WORDS, EYES]), _units, st.integers(0, 2 * PAUSE_US)), max_size=30))
def test_once_it_is_quiet_others_know_exactly_what_is_so(steps: list[tuple[AgentName, list[str], int]]) -> None:
    mouth, at_us = Mouth(), 0
    for agent, states, wait_us in steps:
        at_us += wait_us
        mouth.wake(at_us)
        mouth.changed(agent, at_us, *(unit(slot, state) for slot, state in enumerate(states)))
    mouth.wake(at_us + PAUSE_US)
    assert mouth.offering.deadline() is None
    for agent in (WORDS, EYES):
        offer = decode_agent(mouth.known().get(f"agent/{agent}", b"\x93\x90\x90\x90"))
        assert offer is not None
        told = [(each.first_slot, each.state) for item in offer.ranges for each in item.units()]
        assert told == [(each.first_slot, each.state) for each in mouth.units.get(agent, [])]


# -- versions in a large mesh -----------------------------------------------------------------------------------------

ME = NodeId(b"m" * 32)


class Far(Mouth):
    """A mouth of a node in a large mesh; ``index`` is what the node itself knows."""

    def __init__(self) -> None:
        super().__init__()
        self.index: dict[str, bytes] = {}
        self.offering = Offering(lambda agent: self.units.get(agent, []), self._publish, me=ME, large=lambda: True)

    def _publish(self, publish: Publish, now: Instant) -> Sequence[Effect]:
        super()._publish(publish, now)
        return [SoftChanged(ME, publish.key, publish.value, 1)]

    def changed(self, agent: AgentName, at_us: int, *units: UnitOffer) -> None:
        self.units[agent] = list(units)
        self._learn(self.offering.changed(agent, Instant(at_us, 0)))

    def wake(self, at_us: int) -> None:
        self._learn(self.offering.wake(Instant(at_us, 0)))

    def _learn(self, effects: Sequence[Effect]) -> None:
        self.index |= {effect.key: effect.value for effect in effects if isinstance(effect, SoftChanged)}

    def version(self) -> int:
        offer = decode_agent(self.index["agent/words"])
        assert offer is not None
        return offer.ranges[0].version


def test_in_a_large_mesh_a_version_alone_is_told_every_two_seconds_and_here_at_once() -> None:
    mouth = Far()
    for step in range(201):
        mouth.units[WORDS] = [unit(0, version=step)]
        mouth.wake(step * PAUSE_US)
        mouth.changed(WORDS, step * PAUSE_US, unit(0, version=step))
        assert mouth.version() == step
    assert len(mouth.published) == 1 + 200 * PAUSE_US // VERSION_PAUSE_US
    mouth.wake(201 * PAUSE_US + VERSION_PAUSE_US)
    assert mouth.known()["agent/words"] == mouth.index["agent/words"] and mouth.offering.deadline() is None


def test_anything_else_is_told_at_once_with_the_version_of_the_moment() -> None:
    mouth = Far()
    mouth.changed(WORDS, 0, unit(0, version=1))
    mouth.changed(WORDS, PAUSE_US, unit(0, version=2))
    assert len(mouth.published) == 1
    mouth.changed(WORDS, 2 * PAUSE_US, unit(0, "failed", version=3))
    assert len(mouth.published) == 2 and mouth.known()["agent/words"] == mouth.index["agent/words"]


def test_what_is_not_a_version_does_not_wait_behind_one() -> None:
    mouth = Far()
    mouth.changed(WORDS, 0, unit(0, version=1))
    mouth.changed(WORDS, PAUSE_US, unit(0, version=2))
    mouth.changed(WORDS, PAUSE_US + 1, unit(0, "failed", version=2))
    assert mouth.offering.deadline() == 2 * PAUSE_US
    mouth.wake(2 * PAUSE_US)
    assert len(mouth.published) == 2


def test_a_version_that_waits_is_withdrawn_with_its_agent() -> None:
    mouth = Far()
    mouth.changed(WORDS, 0, unit(0, version=1))
    mouth.changed(WORDS, PAUSE_US, unit(0, version=2))
    mouth.changed(WORDS, 2 * PAUSE_US)
    assert mouth.known() == {} and mouth.index == {"agent/words": b""} and mouth.offering.deadline() is None
