"""A mesh above the limit, with the catalogue that its spokesmen make: what another region has is found and called."""

from meshnode.kernel.instant import SECOND
from meshnode.model.commands import RunAgent
from meshnode.model.views import AgentView, CallView
from tests.unit.node.mesh import simulated
from tests.unit.node.test_beyond import COUNT, World, failed


def named(world: World, skill: str) -> None:
    """The catalogue of alpha names it for a region."""
    catalogue = world.alpha.core.beyond.catalogue = world.alpha.core.gossip.catalogue
    world.mesh.until(lambda: bool(catalogue.regions_of(skill, world.mesh.now_us)), 90 * SECOND)


def test_above_the_limit_a_skill_is_named_by_its_region_found_and_called() -> None:
    world = World()
    named(world, COUNT)
    (item,) = world.find()
    assert (item.node, item.region, item.excluded) == (world.there.name, "us", "")
    for where in ({}, {"to": f"words/{world.there.name}"}, {"session": "a customer"}):
        view = world.call(**where)
        assert isinstance(view, CallView) and view.node == world.there.name, view
    assert failed(world.call("no.such"))[0] == "not-found", "all regions have spoken"


def test_a_region_that_is_cut_off_still_has_what_it_had_and_is_called_again_when_it_is_back() -> None:
    world = World()
    shop = RunAgent(name="shop", argv=simulated("shop.buy", answer_ms=0), region="us")
    assert isinstance(world.there.answer(shop), AgentView)
    named(world, "shop.buy")
    assert isinstance(world.call("shop.buy"), CallView)
    for box in (world.alpha, world.beta):
        for other in (world.there, world.other):
            world.mesh.cut(box.name, other.name)
    world.mesh.run(20 * SECOND)
    code, message = failed(world.call("shop.buy"))
    assert code == "unreachable" and "region us has it (some, told " in message, message
    assert "none of its bridges can be reached" in message
    (item,) = world.find("shop.buy")
    assert (item.region, item.node) == ("us", "") and item.age_s >= 15
    world.mesh.heal()
    world.mesh.until(lambda: isinstance(world.call("shop.buy"), CallView), 60 * SECOND)
