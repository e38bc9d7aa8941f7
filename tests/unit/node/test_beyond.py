"""A skill of another region: found, called, or told why not; never "not found" while the catalogue names it."""

from collections.abc import Sequence

import msgspec
import pytest

from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.ports import RegionOffer
from meshnode.messaging.messages import CallEnded
from meshnode.model.commands import CallSkill, FindSkills, RunAgent
from meshnode.model.errors import Invalid, RemoteError
from meshnode.model.ids import NodeId
from meshnode.model.views import AgentView, CallView, Failure, SkillsView, SkillView
from meshnode.node.beyond import FINDS_MAX, QUESTS_MAX, told_to_peer
from meshnode.node.beyond_letters import Detail, OfferTold, Question, decode_detail, encode
from meshnode.node.inputs import HardwareProbed, LoadSampled
from meshnode.registry.index import UnitSeen
from meshnode.registry.offers import SkillOffer, encode_offer, encode_skill
from meshnode.wire.calls import SkillDescription
from tests.unit.node.mesh import FACTS, LOAD, Box, Mesh, simulated

WHOLE_MAX = 3
REGIONS = {"alpha": "eu", "beta": "eu", "gamma": "us", "delta": "us"}
COUNT = "words.count"


class Rows:
    """A catalogue as a test writes it. ``asked``: how often it was."""

    def __init__(self) -> None:
        self.rows: dict[str, list[RegionOffer]] = {}
        self.unheard: list[str] = []
        self.asked = 0

    def name(self, skill: str, region: str, *bridges: NodeId, amount: str = "some") -> None:
        self.rows.setdefault(skill, []).append(RegionOffer(region, amount, "cpu", 12 * SECOND, bridges))

    def regions_of(self, skill: str, now_us: int) -> Sequence[RegionOffer]:
        assert now_us
        self.asked += 1
        return self.rows.get(skill, [])

    def silent(self, now_us: int) -> Sequence[str]:
        assert now_us
        return self.unheard


class World:
    """alpha and beta of eu, gamma and delta of us, all linked; us counts words; alpha has a catalogue."""

    def __init__(self, whole_mesh_max: int = WHOLE_MAX) -> None:
        self.mesh = Mesh()
        self.boxes = {
            name: Box(
                self.mesh, name, seeds=[] if name == "alpha" else ["alpha"], region=region, roles=("member",),
                whole_mesh_max=whole_mesh_max,
            ).start()
            for name, region in REGIONS.items()
        }  # fmt: skip
        for box in self.boxes.values():
            self.mesh.run(10 * MS)
            box.tell(HardwareProbed(FACTS))
            box.tell(LoadSampled(LOAD))
        self.mesh.run(3 * SECOND)
        self.alpha, self.beta = self.boxes["alpha"], self.boxes["beta"]
        self.mesh.run_agent(self.boxes["gamma"], "words", COUNT, "words.sum")
        self.mesh.run(10 * SECOND)
        self.rows = Rows()
        self.alpha.core.beyond.catalogue = self.rows
        (self.there,) = [box for box in self.boxes.values() if box.running()]
        (self.other,) = [b for b in self.boxes.values() if b is not self.there and REGIONS[b.name] == "us"]

    def name(self, *skills: str) -> None:
        for skill in skills or (COUNT,):
            self.rows.name(skill, "us", self.other.node, self.there.node)

    def find(self, skill: str = COUNT, where: str = "") -> list[SkillView]:
        view = self.alpha.answer(FindSkills(skill=skill, where=where))
        assert isinstance(view, SkillsView), view
        assert [item.rank for item in view.items] == list(range(1, len(view.items) + 1))
        return view.items

    def call(self, skill: str = COUNT, **more: object) -> CallView | Failure:
        return self.mesh.call(self.alpha, skill, **more)

    def asked(self) -> int:
        return self.alpha.core.beyond.counters["beyond-asked"]

    def lose(self, *boxes: Box) -> None:
        """They are cut off, and alpha knows."""
        for box in boxes:
            self.mesh.isolate(box)
        self.mesh.until(lambda: not any(self.alpha.core.gossip.reachable(box.node) for box in boxes), 60 * SECOND)


def failed(view: CallView | Failure) -> tuple[str, str]:
    assert isinstance(view, Failure), view
    return view.code, view.message


def test_a_skill_of_another_region_is_found_and_called() -> None:
    world = World()
    assert REGIONS[world.there.name] == "us"
    assert world.alpha.core.index.candidates(COUNT, now=world.alpha.now) == [], "its facts are not held here"
    world.name()
    (item,) = world.find()
    assert (item.node, item.region, item.excluded, item.agent) == (world.there.name, "us", "", "words")
    assert item.path.startswith(f"told by {world.other.name} 0.") and 0 <= item.age_s < 20
    view = world.call()
    assert isinstance(view, CallView) and view.node == world.there.name, view
    assert world.asked() == 1, "what was just learned is not asked again"


def test_a_mesh_whose_facts_are_all_held_here_asks_nobody() -> None:
    world = World(whole_mesh_max=64)
    world.name()
    assert [item.node for item in world.find()] == [world.there.name]
    assert isinstance(world.call(), CallView)
    assert (world.rows.asked, world.asked()) == (0, 0)


def test_a_skill_nobody_names_is_not_found_once_the_region_is_known() -> None:
    world = World()
    assert failed(world.call("no.such"))[0] == "not-found" and world.find("no.such") == []
    assert world.asked() == 0


def test_what_a_silent_region_has_is_not_known_and_not_denied() -> None:
    world = World()
    world.rows.unheard = ["us", "asia"]
    code, message = failed(world.call("no.such"))
    assert code == "unavailable" and "nothing is known yet of what region us, asia offers" in message


def test_a_node_that_has_just_started_does_not_say_that_there_is_nobody() -> None:
    world = World()
    world.mesh.kill(world.alpha)
    again = Box(
        world.mesh, "alpha", world.alpha.journal, run=2, seeds=["beta"], region="eu", roles=("member",),
        whole_mesh_max=WHOLE_MAX,
    ).start()  # fmt: skip
    again.core.beyond.catalogue = Rows()
    world.mesh.run(1 * SECOND)
    code, message = failed(world.mesh.call(again, "no.such"))
    assert code == "unavailable" and "started 1" in message and "has not heard all of its region yet" in message
    world.mesh.run(10 * SECOND)
    assert failed(world.mesh.call(again, "no.such"))[0] == "not-found"


def test_a_bridge_that_does_not_answer_leads_to_the_next_one() -> None:
    world = World()
    world.mesh.isolate(world.other)  # alpha does not know yet
    world.name()
    view = world.call()
    assert isinstance(view, CallView) and view.node == world.there.name, view
    assert world.asked() == 2 and view.took_ms < 3_000


def test_while_no_bridge_answers_the_reason_names_the_region_and_the_age() -> None:
    world = World()
    world.lose(world.there, world.other)
    world.name("far.skill")
    code, message = failed(world.call("far.skill"))
    assert code == "unreachable" and "region us has it (some, told 12 s ago), and none of its bridges" in message
    assert world.there.name in message and world.other.name in message
    (item,) = world.find("far.skill")
    assert (item.node, item.region, item.age_s, item.path) == ("", "us", 12.0, "catalogue")
    assert "none of its bridges can be reached" in item.excluded


def test_a_region_without_any_bridge_is_told_at_once() -> None:
    world = World()
    world.rows.name(COUNT, "us")
    began = world.mesh.now_us
    code, message = failed(world.call())
    assert code == "unreachable" and message.endswith("none of its bridges can be reached: none is known to be up")
    assert world.mesh.now_us - began < SECOND and world.asked() == 0


def test_a_bridge_that_knows_of_nobody_now_says_why() -> None:
    world = World()
    world.rows.name("far.skill", "us", world.other.node)
    code, message = failed(world.call("far.skill"))
    assert code == "unavailable"
    assert message.endswith(f"region us: {world.other.name} says: nobody of this region offers it"), message
    (item,) = world.find("far.skill")
    assert (item.region, item.node) == ("us", "") and f"{world.other.name} says" in item.excluded


def test_a_hundred_calls_that_wait_for_one_skill_are_one_question() -> None:
    world = World()
    world.name()
    numbers = [world.alpha.ask(CallSkill(skill=COUNT)) for _ in range(100)]
    world.mesh.until(lambda: all(number in world.alpha.replies for number in numbers))
    assert all(isinstance(world.alpha.replies[number][0], CallView) for number in numbers)
    assert world.asked() == 1


def test_after_some_seconds_it_is_asked_anew() -> None:
    world = World()
    world.name()
    for count in (1, 2):
        assert isinstance(world.call(), CallView)
        assert world.asked() == count
        world.mesh.run(6 * SECOND)
        assert world.alpha.core.index.candidates(COUNT, now=world.alpha.now) == []


def test_a_call_for_one_node_of_another_region_is_asked_for_there() -> None:
    world = World()
    view = world.call(to=f"words/{world.there.name}")
    assert isinstance(view, CallView) and view.node == world.there.name, view
    code, message = failed(world.call("no.such", to=f"words/{world.there.name}"))
    assert code == "unavailable" and f"{world.there.name} says: nobody of this region offers it" in message, message


def test_constraints_are_judged_by_the_region_that_has_the_nodes() -> None:
    world = World()
    world.name()
    assert [item.node for item in world.find(where="cpus>=2")] == [world.there.name]
    (item,) = world.find(where="cpus>=2000")
    assert item.node == "" and "cpus is 4, less than 2000" in item.excluded


def test_a_call_that_may_wait_long_is_ended_by_its_own_deadline() -> None:
    world = World()
    world.mesh.isolate(world.other)
    world.mesh.isolate(world.there)
    world.name()
    began = world.mesh.now_us
    assert failed(world.call(deadline_s=0.7))[0] == "timeout"
    assert world.mesh.now_us - began < SECOND


def test_a_call_of_a_peer_goes_no_further() -> None:
    world = World()
    world.name()
    view = world.mesh.call(world.beta, COUNT, to="words/alpha")
    assert failed(view)[0] in ("not-found", "unavailable") and world.asked() == 0


def test_who_waits_and_what_is_kept_is_bounded() -> None:
    world = World()
    skills = [f"far.skill{number}" for number in range(QUESTS_MAX + 50)]
    world.name(*skills)
    for skill in skills:
        world.alpha.ask(CallSkill(skill=skill))
    beyond = world.alpha.core.beyond
    assert len(beyond._quests) <= QUESTS_MAX and len(beyond._tickets) <= QUESTS_MAX
    numbers = [world.alpha.ask(FindSkills(skill=skills[0])) for _ in range(FINDS_MAX + 10)]
    assert sum(number in world.alpha.replies for number in numbers) == 10
    world.mesh.run(15 * SECOND)
    assert all(number in world.alpha.replies for number in numbers) and not beyond._tickets
    assert len(beyond._quests) <= QUESTS_MAX and not world.alpha.core.desk.finding._waiting


def test_whoever_gave_up_is_not_answered() -> None:
    world = World()
    world.name()
    number = world.alpha.ask(FindSkills(skill=COUNT))
    world.alpha.core.desk.dropped(number, world.alpha.now)
    world.mesh.run(SECOND)
    assert number not in world.alpha.replies


# -- liars -------------------------------------------------------------------------------------------------------------


def offer_told(node: NodeId, skill: str = COUNT, value: bytes = b"") -> OfferTold:
    return OfferTold(node, skill, value or encode_skill("words", SkillDescription(skill)), 5)


@pytest.mark.parametrize("what", ["own region", "stranger", "another skill", "no offer", "no JSON", "eleven"])
def test_what_a_bridge_may_not_say_is_refused_and_counted(what: str) -> None:
    world = World()
    world.name()
    there = world.there.node
    said = {
        "own region": encode(Detail([offer_told(world.beta.node)])),
        "stranger": encode(Detail([offer_told(NodeId(b"x" * 32))])),
        "another skill": encode(Detail([offer_told(there, "words.sum")])),
        "no offer": encode(Detail([offer_told(there, COUNT, b"\xc1")])),
        "no JSON": b"\xff{",
        "eleven": msgspec.json.encode({"offers": [offer_told(there)] * 11}),
    }[what]
    beyond, now = world.alpha.core.beyond, world.alpha.now
    beyond.seek(COUNT, None, now)
    (ticket,) = beyond._tickets
    beyond.ended(CallEnded(ticket, b"", "", "", said, world.other.node, "", 1, 1), now)
    assert world.alpha.core.index.candidates(COUNT, now=now) == []
    refused = beyond.counters["beyond-offers-refused"] + beyond.counters["detail-malformed"]
    assert refused == 1 and list(beyond._tickets) == [ticket - 1], "the next bridge is asked"
    assert beyond.ended(CallEnded(ticket, b"", "", "", said, world.other.node, "", 1, 1), now) == []


@pytest.mark.parametrize("junk", [b"", b"\xff", b"[]", b'{"address":""}', b'{"address":"x","limit":11}', b"{" * 9_000])
def test_a_question_that_cannot_be_read_is_refused(junk: bytes) -> None:
    world = World()
    core, now = world.alpha.core, world.alpha.now
    with pytest.raises(RemoteError):
        told_to_peer(core.index, "eu", core.names.of, junk, now)
    with pytest.raises(Invalid):
        told_to_peer(core.index, "eu", core.names.of, encode(Question("x", "fast")), now)


def test_a_node_answers_for_its_own_region_only() -> None:
    world = World(whole_mesh_max=64)
    core, now = world.alpha.core, world.alpha.now
    assert core.index.top(COUNT, k=1, now=now) != []
    detail = decode_detail(told_to_peer(core.index, "eu", core.names.of, encode(Question(COUNT)), now))
    assert detail == Detail([], "nobody of this region offers it")
    there = world.there.core
    detail = decode_detail(told_to_peer(there.index, "us", there.names.of, encode(Question(COUNT)), now))
    assert [offer.node for offer in detail.offers] == [world.there.node]


def test_an_offer_that_does_not_fit_any_more_loses_what_can_be_missed() -> None:
    wide = SkillOffer("words", "d" * 2_000, "{}", "{}", ("vision",), idempotent=True)
    assert len(encode_offer(wide)) < 100
    assert len(encode_offer(SkillOffer("words", "d"))) < 20


def test_a_session_goes_to_its_slot_though_the_bridge_tells_of_others() -> None:
    world = World()
    alpha = world.alpha
    shop = RunAgent(name="shop", argv=simulated("shop.buy", answer_ms=0), replicas=2, region="us")
    assert isinstance(world.there.answer(shop), AgentView)
    world.mesh.run(5 * SECOND)
    homes = {slot: name for unit in alpha.core.index.units("shop") for slot, name in _slots(alpha, unit)}
    assert set(homes) == {0, 1} and set(homes.values()) <= {"gamma", "delta"}
    for slot, name in homes.items():
        view = world.call("shop.buy", to=f"shop/{slot}")
        assert isinstance(view, CallView) and (view.node, view.instance) == (name, f"shop/{slot}"), view
    world.name("shop.buy")
    world.mesh.run(10 * SECOND)
    first = world.call("shop.buy", session="a customer")
    again = world.call("shop.buy", session="a customer")
    assert isinstance(first, CallView) and isinstance(again, CallView) and first.instance == again.instance
    code, message = failed(world.call("shop.buy", to="shop/7"))
    assert code == "unavailable" and "slot 7" in message, message


def _slots(box: Box, unit: UnitSeen) -> list[tuple[int, str]]:
    name = box.core.names.of(unit.node)
    return [(slot, name) for slot in range(unit.first_slot, unit.first_slot + unit.slots)]
