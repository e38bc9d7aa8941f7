"""How a unit is to run, and what no unit can be. (Recipes are read and checked in ``model/agent.py``.)"""

import msgspec

from meshnode.agents.messages import RunUnit
from meshnode.model.recipe import ACTOR, Recipe
from meshnode.model.units import ACTORS_A_WORKER, agent_of, unit_id


class Order(msgspec.Struct, frozen=True, array_like=True):
    """Equal orders are the same run: nothing has to be restarted."""

    recipe: Recipe
    first_slot: int = 0
    slots: int = 1


def objection(event: RunUnit) -> str:
    """Why this unit cannot be run as asked; "" if it can."""
    recipe = event.recipe
    if event.unit != unit_id(agent_of(event.unit), event.first_slot) or event.first_slot < 0:
        return f"{event.unit[:80]!r} is not the unit that begins with slot {event.first_slot}"
    slots_max = ACTORS_A_WORKER if recipe.tier == ACTOR else 1
    if not 1 <= event.slots <= slots_max:
        return f"{event.slots} slots: one process of the tier {recipe.tier} has 1 to {slots_max}"
    if not recipe.file and not (recipe.argv and recipe.argv[0]):
        return "there is no program to run: its recipe has neither a file nor a command"
    if recipe.tier == ACTOR and not recipe.file:
        return "an actor needs a Python file that uses the SDK, and its recipe has a command"
    return ""
