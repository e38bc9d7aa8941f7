"""The one object an agent's author makes."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar, overload

from meshnode.sdk.errors import Unavailable
from meshnode.sdk.skills import Skill, SkillFunction

if TYPE_CHECKING:
    from meshnode.sdk.runtime import Runtime

FunctionT = TypeVar("FunctionT", bound=SkillFunction)

HOW_TO_RUN = """\
{name} is an agent: it works under a meshnode daemon, which is not there.

    meshnode run {file}

starts it on this machine's node ('meshnode up' makes one if there is none). It offers:
{skills}"""


class Agent:
    """An agent and its skills.

    Args:
        name: begins the names of its skills: function ``count`` of agent ``words`` is the skill ``words.count``.
    """

    def __init__(self, name: str) -> None:
        if not name.replace("-", "_").isidentifier() or not name.isascii():
            raise ValueError(f"agent name {name!r}: use letters, digits, '-' and '_', beginning with a letter")
        self.name = name
        self.skills: dict[str, Skill] = {}
        self._runtime: Runtime | None = None

    @overload
    def skill(self, function: FunctionT) -> FunctionT: ...
    @overload
    def skill(self, *, name: str = "", tags: tuple[str, ...] = ()) -> Callable[[FunctionT], FunctionT]: ...

    def skill(
        self, function: FunctionT | None = None, *, name: str = "", tags: tuple[str, ...] = ()
    ) -> FunctionT | Callable[[FunctionT], FunctionT]:
        """Offer a typed function to the mesh: ``@agent.skill`` or ``@agent.skill(name=..., tags=(...))``.

        Its type hints become the JSON Schema of its arguments and result, its docstring the description. Async
        functions run in the event loop, others in threads. The function itself is returned unchanged.

        Args:
            name: instead of ``AGENT.FUNCTION``.
            tags: capabilities by which the skill can be found.

        Raises:
            TypeError: a parameter has no type, or one that JSON cannot say.
            ValueError: the agent has a skill of that name.
        """

        def add(function: FunctionT) -> FunctionT:
            full = name or f"{self.name}.{getattr(function, '__name__', 'skill')}"
            if full in self.skills:
                raise ValueError(f"agent {self.name} has two skills named {full}")
            self.skills[full] = Skill(full, function, tags)
            return function

        return add if function is None else add(function)

    def run(self) -> None:
        """Serve calls until the daemon asks the agent to stop. Blocks; call it from the main thread.

        Raises:
            SystemExit: with a message; there is no daemon, it refused the agent, or it went away.
        """
        import os
        import sys

        if "MESHNODE_BUS" not in os.environ:
            skills = "".join(f"    {skill.name}: {skill.description.description}\n" for skill in self.skills.values())
            print(HOW_TO_RUN.format(name=self.name, file=sys.argv[0], skills=skills), file=sys.stderr)  # noqa: T201
            raise SystemExit(2)
        from meshnode.sdk.runtime import Runtime, serve

        self._runtime = Runtime(self.name, self.skills, dict(os.environ))
        serve(self._runtime)

    async def call(self, skill: str, /, *, deadline_s: float = 10.0, **arguments: object) -> Any:  # noqa: ANN401 - JSON
        """Call a skill anywhere in the mesh and return its result, as decoded JSON.

        Args:
            skill: e.g. ``"words.count"``.
            deadline_s: how long to wait at most; within a skill never longer than its own caller waits.
            arguments: by name; anything that JSON can say.

        Raises:
            Unavailable, DeadlinePassed, Cancelled, CallFailed: see there.
        """
        if self._runtime is None:
            raise Unavailable("unavailable", f"{self.name} is not connected: a call needs a running agent")
        return await self._runtime.call(skill, arguments, deadline_s)
