"""What to run: the part of an agent that outlives the daemon."""

import re

import msgspec

from meshnode.kernel.records import Record, RecordKind
from meshnode.model.commands import RunAgent
from meshnode.model.errors import Invalid
from meshnode.model.ids import AgentName

RECIPE_BYTES_MAX = 16 * 1024
# Also the name of a log file and the first half of an instance id.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,62}")
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_RESERVED = "MESHNODE_"


class Recipe(msgspec.Struct, frozen=True, array_like=True):
    """A command line, where to run it and what to add to its clean environment."""

    argv: tuple[str, ...]
    cwd: str
    environment: dict[str, str] = {}


def read_recipe(command: RunAgent) -> tuple[AgentName, Recipe]:
    """The name and recipe a person asked for. Raises ``Invalid`` naming the field; nothing has changed then."""
    check_name(command.name)
    recipe = Recipe(tuple(command.argv), command.cwd, dict(sorted(command.environment.items())))
    _check_command_line(recipe)
    _check_environment(recipe)
    if len(msgspec.msgpack.encode(recipe)) > RECIPE_BYTES_MAX:
        raise Invalid(
            f"agent {command.name}: the command line and environment are longer than {RECIPE_BYTES_MAX} bytes",
            next_step="Put what is long into a file and pass its path.",
        )
    return AgentName(command.name), recipe


def check_name(name: str) -> None:
    if not _NAME.fullmatch(name):
        raise Invalid(
            f"name: {name[:80]!r} is not a name for an agent",
            next_step="Use 1 to 63 letters, digits, '-' and '_', beginning with a letter or digit.",
        )


def record_of(name: AgentName, recipe: Recipe | None) -> Record:
    """What the journal keeps; ``None`` forgets the agent."""
    return Record(RecordKind.AGENT, name.encode(), b"" if recipe is None else msgspec.msgpack.encode(recipe))


def read_record(record: Record) -> tuple[AgentName, Recipe]:
    """Raises ``msgspec.MsgspecError`` (a ``ValueError``) if another version of this program wrote something else."""
    return AgentName(record.key.decode()), msgspec.msgpack.decode(record.body, type=Recipe)


def _check_command_line(recipe: Recipe) -> None:
    if not recipe.argv or not recipe.argv[0]:
        raise Invalid("argv: there is no program to run", next_step="Name a file: meshnode run FILE")
    if any("\0" in word for word in (*recipe.argv, recipe.cwd)):
        raise Invalid("argv: a zero byte cannot be passed to a program")
    if not recipe.cwd.startswith("/"):
        raise Invalid(f"cwd: {recipe.cwd!r} is not absolute", next_step="Give the folder from '/' on.")


def _check_environment(recipe: Recipe) -> None:
    for name, value in recipe.environment.items():
        if not _VARIABLE.fullmatch(name) or "\0" in value:
            raise Invalid(f"environment: {name[:80]!r} cannot be set", next_step="Use letters, digits and '_'.")
        if name.startswith(_RESERVED):
            raise Invalid(f"environment: {name} is set by the daemon", next_step=f"Do not use {_RESERVED}*.")
