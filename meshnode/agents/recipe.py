"""What a person asks to run, checked before anything of it is kept."""

import re

import msgspec

from meshnode.agents.messages import RunUnit
from meshnode.kernel.blobs import digest_of
from meshnode.model.commands import RunAgent
from meshnode.model.errors import Invalid
from meshnode.model.ids import AgentName
from meshnode.model.recipe import ACTOR, TIERS, Recipe
from meshnode.model.units import ACTORS_A_WORKER, agent_of, slot_of

RECIPE_BYTES_MAX = 16 * 1024
# Also the name of a log file and the first half of a unit's id.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = "MESHNODE_"


def read_recipe(command: RunAgent) -> tuple[AgentName, Recipe]:
    """The name and recipe a person asked for. Raises ``Invalid`` naming the field; nothing has changed then."""
    check_name(command.name)
    recipe = Recipe(
        tuple(command.argv), command.cwd, dict(sorted(command.environment.items())), command.file,
        digest_of(command.source) if command.source else "", command.tier,
    )  # fmt: skip
    check_recipe(command.name, recipe)
    return AgentName(command.name), recipe


def check_recipe(name: str, recipe: Recipe) -> None:
    """Raises ``Invalid`` naming the field."""
    _check_program(recipe)
    _check_environment(recipe)
    if len(msgspec.msgpack.encode(recipe)) > RECIPE_BYTES_MAX:
        raise Invalid(
            f"agent {name}: the command line and environment are longer than {RECIPE_BYTES_MAX} bytes",
            next_step="Put what is long into a file and pass its path.",
        )


def check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"name: {name[:80]!r} is not a name for an agent",
            next_step="Use 1 to 63 letters, digits, '-' and '_', beginning with a letter or digit.",
        )


def objection(event: RunUnit) -> str:
    """Why this unit cannot be run as asked, "" if it can: what came over the network is not believed twice."""
    recipe = event.recipe
    if not _NAME.fullmatch(agent_of(event.unit)) or slot_of(event.unit) != event.first_slot:
        return f"{event.unit[:80]!r} is not the unit that begins with slot {event.first_slot}"
    slots_max = ACTORS_A_WORKER if recipe.tier == ACTOR else 1
    if not 1 <= event.slots <= slots_max:
        return f"{event.slots} slots: one process of the tier {recipe.tier} has 1 to {slots_max}"
    try:
        check_recipe(agent_of(event.unit), recipe)
    except Invalid as error:
        return error.message
    return ""


def _check_program(recipe: Recipe) -> None:
    if not recipe.file and not (recipe.argv and recipe.argv[0]):
        raise Invalid("argv: there is no program to run", next_step="Name a file: meshnode run FILE")
    if any("\0" in word for word in (*recipe.argv, recipe.cwd, recipe.file)):
        raise Invalid("argv: a zero byte cannot be passed to a program")
    for field, path in (("cwd", recipe.cwd), ("file", recipe.file or "/")):
        if not path.startswith("/"):
            raise Invalid(f"{field}: {path!r} is not absolute", next_step="Give the path from '/' on.")
    if recipe.tier not in TIERS:
        raise Invalid(f"tier: {recipe.tier[:40]!r} is none", next_step=f"Use {' or '.join(TIERS)}.")
    if recipe.tier == ACTOR and not recipe.file:
        raise Invalid("tier: an actor needs a Python file", next_step="Name a file that uses the SDK.")


def _check_environment(recipe: Recipe) -> None:
    for name, value in recipe.environment.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise Invalid(f"environment: {name[:80]!r} cannot be set", next_step="Use letters, digits and '_'.")
        if name.startswith(_RESERVED):
            raise Invalid(f"environment: {name} is set by the daemon", next_step=f"Do not use {_RESERVED}*.")
