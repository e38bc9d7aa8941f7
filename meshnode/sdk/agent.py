"""The one object an agent's author makes."""

from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeVar, overload

from meshnode.sdk.context import DEADLINE_S
from meshnode.sdk.errors import Unavailable
from meshnode.sdk.hooks import ALL_KEYS, Hooks
from meshnode.sdk.skills import Skill, SkillFunction
from meshnode.sdk.words import merged

if TYPE_CHECKING:
    from meshnode.sdk.runtime import Runtime
    from meshnode.sdk.topics import Handlers, Published

FunctionT = TypeVar("FunctionT", bound=SkillFunction)

PROCESS, ACTOR = "process", "actor"


class Agent:
    """An agent and its skills.

    Args:
        name: begins the names of its skills: function ``count`` of agent ``words`` is the skill ``words.count``.
        tier: "process": each instance is a process of its own. "actor": many instances share one process; each has its
            own state and takes its own turns.
    """

    def __init__(self, name: str, tier: str = PROCESS) -> None:
        if not name.replace("-", "_").isidentifier() or not name.isascii():
            raise ValueError(f"agent name {name!r}: use letters, digits, '-' and '_', beginning with a letter")
        if tier not in (PROCESS, ACTOR):
            raise ValueError(f"agent {name}: tier {tier!r} is none; use 'process' or 'actor'")
        self.name = name
        self.tier = tier
        self.skills: dict[str, Skill] = {}
        self.hooks = Hooks(name)
        self.handlers: Handlers | None = None  # from its first topic on: most agents have none
        self._runtime: Runtime | None = None

    @property
    def by_slot(self) -> bool:
        """One process is many instances, and the keys of their states name the slot."""
        return self.tier == ACTOR

    @overload
    def skill(self, function: FunctionT) -> FunctionT: ...
    @overload
    def skill(
        self,
        *,
        name: str = "",
        tags: Sequence[str] = (),
        idempotent: bool = False,
        concurrent: bool = False,
        timeout_s: float | None = None,
    ) -> Callable[[FunctionT], FunctionT]: ...

    def skill(
        self,
        function: FunctionT | None = None,
        *,
        name: str = "",
        tags: Sequence[str] = (),
        idempotent: bool = False,
        concurrent: bool = False,
        timeout_s: float | None = None,
    ) -> FunctionT | Callable[[FunctionT], FunctionT]:
        """Offer a typed function to the mesh: ``@agent.skill`` or ``@agent.skill(name=..., tags=(...))``.

        Its type hints become the JSON Schema of its arguments and result, its docstring the description. Async
        functions run in the event loop, others in threads; generators of both kinds stream their items. A parameter
        annotated with ``Ctx`` gets the call's context. The function itself is returned unchanged.

        A skill with a context has its turn: one call after the other per instance, so that what it reads from
        ``ctx.state`` stays true until it returns. It must not call another such skill of its own instance, which
        would wait for it.

        Args:
            name: instead of ``AGENT.FUNCTION``.
            tags: capabilities by which the skill can be found.
            idempotent: running twice is running once: the mesh may repeat a call that got no answer.
            concurrent: no turns although it has a context; of two calls that write one key, the later one wins.
            timeout_s: end a call after so long, even if its caller would wait longer.

        Raises:
            TypeError: a parameter has no type, or one that JSON cannot say.
            ValueError: the agent has a skill of that name.
        """

        def add(function: FunctionT) -> FunctionT:
            full = name or f"{self.name}.{getattr(function, '__name__', 'skill')}"
            if full in self.skills:
                raise ValueError(f"agent {self.name} has two skills named {full}")
            self.skills[full] = Skill(
                full, function, tags, idempotent=idempotent, concurrent=concurrent, timeout_s=timeout_s
            )
            return function

        return add if function is None else add(function)

    def on_restore(self, function: FunctionT) -> FunctionT:
        """``def hook(ctx: Ctx, restored: Restored)``, run before the first call; what it changes is kept.

        An actor's runs before the first call of each slot. If it raises, the agent ends: it could not work rightly.
        """
        if self.hooks.restore is not None:
            raise ValueError(f"agent {self.name} has an on_restore already")
        self.hooks.restore = function
        return function

    @overload
    def merge(self, key: FunctionT) -> FunctionT: ...
    @overload
    def merge(self, key: str) -> Callable[[FunctionT], FunctionT]: ...

    def merge(self, key: FunctionT | str) -> FunctionT | Callable[[FunctionT], FunctionT]:
        """``def decide(base, mine, theirs) -> value``: asked when two copies of the agent changed a key during a cut.

        ``@agent.merge`` is for every key, ``@agent.merge("orders")`` for one. ``base`` is what both came from, or
        None. If it raises or takes over five seconds, the key stays undecided (``meshnode conflicts``).
        """

        def add(function: FunctionT, name: str) -> FunctionT:
            if name in self.hooks.merges:
                raise ValueError(f"agent {self.name} has two merge functions for {name}")
            self.hooks.merges[name] = function
            return function

        if isinstance(key, str):
            return lambda function: add(function, key)
        return add(key, ALL_KEYS)

    def on(self, topic: str) -> Callable[[FunctionT], FunctionT]:
        """``@agent.on("topic/line/*")`` above ``def heard(event: Event)``, sync or async: run for each event as it
        comes, one after the other.

        A parameter annotated with ``Ctx`` gets a context; the state is changed within ``async with ctx.turn():``. If
        it raises, the agent's log tells, and the next event comes.

        Raises:
            ValueError: one cannot listen to that.
            TypeError: the function takes something else than an event and a context.
        """
        from meshnode.sdk.topics import Handlers

        handlers = self.handlers = self.handlers or Handlers(self.name)

        def add(function: FunctionT) -> FunctionT:
            handlers.add(topic, function)
            return function

        return add

    def background(self, function: FunctionT) -> FunctionT:
        """``async def watch(ctx: Ctx)``: runs beside the calls, from the first to the last.

        It reads the state at any time and changes it within ``async with ctx.turn():``. If it raises, the agent ends
        and is started again.
        """
        if self.by_slot:
            raise TypeError(
                f"agent {self.name}: background work is for tier 'process'; an actor works when it is called"
            )
        self.hooks.background.append(function)
        return function

    def probe(self, function: FunctionT) -> FunctionT:
        """``def well() -> bool``, sync or async and quick: asked when the daemon asks whether the agent lives.

        Saying no, raising or not answering leaves that question unanswered; after three of those the agent is
        restarted.
        """
        self.hooks.probe = function
        return function

    def run(self) -> None:
        """Serve calls until the daemon asks the agent to stop; or, without a daemon, do what the command line says.

        Blocks; call it from the main thread.

        Raises:
            SystemExit: the daemon refused the agent or went away for long; or the outcome of a lone call.
        """
        import os
        import sys

        if "MESHNODE_BUS" not in os.environ:
            from meshnode.sdk import alone

            raise SystemExit(alone.main(self, sys.argv[1:]))
        from meshnode.sdk.runtime import serve

        serve(self, dict(os.environ))

    def attach(self, runtime: "Runtime") -> None:
        """For the runtime: calls of this agent go through it."""
        self._runtime = runtime

    async def call(
        self,
        skill: str,
        arguments: Mapping[str, object] | None = None,
        /,
        *,
        deadline_s: float = DEADLINE_S,
        session: str = "",
        key: str = "",
        batch: bool = False,
        as_bytes: bool = False,
        **more: object,
    ) -> Any:  # noqa: ANN401 - JSON
        """Call a skill anywhere in the mesh and return its result, as decoded JSON or as bytes. See ``Ctx.call``.

        Raises:
            Unavailable, DeadlinePassed, Refused, Cancelled, CallFailed, TypeError: see there.
        """
        named = merged(arguments, more, deadline_s, session, key, batch, as_bytes)
        asked = self._connected().call(skill, named, deadline_s, session, key, batch=batch, as_bytes=as_bytes)
        return await asked

    def stream(
        self,
        skill: str,
        arguments: Mapping[str, object] | None = None,
        /,
        *,
        deadline_s: float = DEADLINE_S,
        session: str = "",
        as_bytes: bool = False,
        **more: object,
    ) -> AsyncIterator[Any]:
        """The items of a streaming skill, as they come. See ``Ctx.stream``."""
        named = merged(arguments, more, deadline_s, session, as_bytes=as_bytes)
        return self._connected().stream(skill, named, deadline_s, session, as_bytes=as_bytes)

    def publish(self, topic: str, data: object = None) -> "Published":
        """An event for whoever listens now. See ``Ctx.publish``."""
        return self._connected().publish(topic, data)

    def _connected(self) -> "Runtime":
        if self._runtime is None:
            raise Unavailable("unavailable", f"{self.name} is not connected: a call needs a running agent")
        return self._runtime
