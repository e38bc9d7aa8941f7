"""An agent without a daemon: says what it offers, or runs one call in this process.

python FILE                          what it offers
python FILE SKILL key=value ...      one call; prints the JSON result, one line per item of a stream
python FILE --state FILE.json SKILL  with a state that is loaded before and saved after
"""

import asyncio
import os
import sys
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from meshnode.sdk.asking import value_of
from meshnode.sdk.cells import Cells
from meshnode.sdk.context import Ctx
from meshnode.sdk.errors import DeadlinePassed, StateError, Unavailable, failure_of
from meshnode.sdk.hooks import Restored
from meshnode.sdk.running import Outcome, failed, outcome_of
from meshnode.sdk.skills import Skill
from meshnode.sdk.state import Turn
from meshnode.sdk.threads import Threads
from meshnode.sdk.topics import PUBLISHED, Published, event_frame
from meshnode.wire.state import Change, Key, Op, RestoredCell

if TYPE_CHECKING:
    from meshnode.sdk.agent import Agent

USAGE = """\
{name} is an agent. It offers:
{skills}
    meshnode run {file}                   run it on this machine's node ('meshnode up' makes one)
    meshnode call {example} ...           call it, from any node of the mesh
    python {file} {example} ...           try one call here, without a mesh [--state FILE.json]
"""


class _Saved(msgspec.Struct, omit_defaults=True):
    """A state file. ``sessions``: the same by session."""

    values: dict[str, msgspec.Raw] = {}
    counters: dict[str, int] = {}
    sessions: dict[str, "_Saved"] = {}


_items = msgspec.json.Decoder(list[msgspec.Raw]).decode


class _Usage(Exception):
    """The command line is wrong; the message says how."""


def main(agent: "Agent", argv: list[str]) -> int:
    """The exit code: 0, 1 the call failed, 2 the command line is wrong."""
    try:
        state, words = _options(argv)
        if not words:
            print(_usage(agent))  # noqa: T201 - this is a command line
            return 0
        skill = _skill_of(agent, words[0])
        payload = _payload(skill, words[1:])
        return asyncio.run(_run(agent, skill, payload, state))
    except _Usage as error:
        print(f"{agent.name}: {error}", file=sys.stderr)  # noqa: T201
        return 2


def _options(argv: list[str]) -> tuple[Path | None, list[str]]:
    if "--state" not in argv:
        return None, argv
    at = argv.index("--state")
    if at + 1 >= len(argv):
        raise _Usage("--state needs a file, e.g. --state state.json")
    return Path(argv[at + 1]), argv[:at] + argv[at + 2 :]


def _usage(agent: "Agent") -> str:
    skills = "".join(
        f"    {s.name}({_parameters(s)})\n        {s.description.description}\n" for s in agent.skills.values()
    )
    example = next(iter(agent.skills), "SKILL")
    return USAGE.format(name=agent.name, skills=skills, file=sys.argv[0], example=example)


def _parameters(skill: Skill) -> str:
    schema: dict[str, Any] = msgspec.json.decode(skill.description.input_schema)
    required: list[str] = schema.get("required", [])
    return ", ".join(name if name in required else f"[{name}]" for name in schema.get("properties", {}))


def _skill_of(agent: "Agent", name: str) -> Skill:
    skill = agent.skills.get(name) or agent.skills.get(f"{agent.name}.{name}")
    if skill is None:
        raise _Usage(f"there is no skill {name}; it offers {', '.join(agent.skills) or 'none'}")
    return skill


def _payload(skill: Skill, words: list[str]) -> bytes:
    """``key=value``: JSON where it is JSON and no text is wanted, else a text."""
    properties: dict[str, dict[str, Any]] = msgspec.json.decode(skill.description.input_schema).get("properties", {})
    arguments: dict[str, object] = {}
    for word in words:
        name, equals, text = word.partition("=")
        if not equals:
            raise _Usage(f"{word!r} is no argument: write name=value")
        try:
            is_text = properties.get(name, {}).get("type") == "string"
            arguments[name] = text if is_text else msgspec.json.decode(text)
        except msgspec.MsgspecError:
            arguments[name] = text
    return msgspec.json.encode(arguments)


async def _run(agent: "Agent", skill: Skill, payload: bytes, state: Path | None) -> int:
    alone = Alone(agent)
    if state is not None and state.exists():  # noqa: ASYNC240 - nothing else runs yet
        _load(alone, state)
    await alone.restore(str(state) if state is not None else "")
    outcome = await alone.outcome(skill, payload, show=True)
    if outcome.code:
        print(f"{outcome.code}: {outcome.message}", file=sys.stderr)  # noqa: T201
    elif not skill.streams:
        print(outcome.payload.decode())  # noqa: T201
    if state is not None and not outcome.code:
        _save(alone, state)
    alone.threads.close()
    return 1 if outcome.code else 0


class Alone:
    """The surroundings of an agent's contexts without a mesh (context.Host): calls reach its own skills only."""

    def __init__(self, agent: "Agent") -> None:
        self._agent = agent
        self.cells = Cells()
        self.threads = Threads()
        self.slot = 0 if agent.by_slot else -1
        self._loop = asyncio.get_running_loop()
        self._taken = False

    async def restore(self, source: str) -> None:
        hook = self._agent.hooks.restore
        if hook is None:
            return
        found = any(True for _ in self.cells.all())
        turn = Turn(self.cells, self.slot)
        said = hook(self._context(turn), Restored(int(found), 0.0 if found else None, 0, source if found else ""))
        if asyncio.iscoroutine(said):
            await said
        self.cells.apply(turn.settle())

    async def outcome(self, skill: Skill, payload: bytes, *, show: bool = False) -> Outcome:
        if skill.takes_turns and self._taken:
            return failed("timeout", f"{skill.name} would wait for the turn of the call that calls it")
        before, self._taken = self._taken, self._taken or skill.takes_turns
        turn = Turn(self.cells, self.slot)
        try:
            ended = await outcome_of(skill, payload, self._context(turn), self.threads, _Printed() if show else None)
            if not ended.code:
                self.cells.apply(turn.settle())
        except StateError as error:
            return failed(error.code, f"{skill.name}: {error.message}")
        finally:
            self._taken = before
            turn.drop()
        return ended

    def call(
        self,
        skill: str,
        arguments: Mapping[str, object],
        deadline_s: float,
        session: str,  # noqa: ARG002 - the door of Host
        key: str,  # noqa: ARG002
        *,
        batch: bool,  # noqa: ARG002
        as_bytes: bool,
    ) -> Any:  # noqa: ANN401
        asked = self._value(skill, arguments, deadline_s, as_bytes=as_bytes)
        if self.threads.here_is_loop:
            return asked
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result()

    async def stream(
        self,
        skill: str,
        arguments: Mapping[str, object],
        deadline_s: float,
        session: str,  # noqa: ARG002 - the door of Host
        *,
        as_bytes: bool,
    ) -> AsyncIterator[Any]:
        result = await self._ask(skill, arguments, deadline_s)
        for item in _items(result) if self._agent.skills[skill].streams else [result]:
            yield value_of(skill, item, as_bytes=as_bytes)

    def emit(self, kind: str, data: bytes) -> None:
        print(f"event {kind} {data.decode()}", file=sys.stderr)  # noqa: T201

    def publish(self, topic: str, data: object) -> Published:
        event_frame(topic, data)
        return PUBLISHED  # nobody listens here

    async def take(self, turn: Turn) -> None:
        turn.begin()

    def release(self, turn: Turn, *, commit: bool) -> None:
        if commit:
            self.cells.apply(turn.settle())
        turn.drop()

    async def _value(self, skill: str, arguments: Mapping[str, object], deadline_s: float, *, as_bytes: bool) -> Any:  # noqa: ANN401 - JSON
        return value_of(skill, await self._ask(skill, arguments, deadline_s), as_bytes=as_bytes)

    async def _ask(self, skill: str, arguments: Mapping[str, object], deadline_s: float) -> bytes:
        """The JSON of its result."""
        if skill not in self._agent.skills:
            raise Unavailable("unavailable", f"{skill}: there is no mesh here; run it with 'meshnode run'")
        try:
            async with asyncio.timeout(deadline_s):
                ended = await self.outcome(self._agent.skills[skill], msgspec.json.encode(arguments))
        except TimeoutError as error:
            raise DeadlinePassed("timeout", f"{skill} did not answer in {deadline_s:g} s") from error
        if ended.code:
            raise failure_of(ended.code, ended.message)
        return ended.payload

    def _context(self, turn: Turn) -> Ctx:
        return Ctx(self, turn, instance=f"{self._agent.name}/0", caller="alone")


class _Printed:
    """Items of a stream, for a person: JSON. Implements ``running.Items``."""

    raw = False

    async def item(self, number: int, data: bytes, *, raw: bool = False) -> None:  # noqa: ARG002
        print(data.decode(), flush=True)  # noqa: T201


def _load(alone: Alone, path: Path) -> None:
    try:
        saved = msgspec.json.decode(path.read_bytes(), type=_Saved)
    except (OSError, msgspec.MsgspecError) as error:
        raise _Usage(f"the state file {path} cannot be read: {error}") from error
    for session, part in [("", saved), *saved.sessions.items()]:
        for name, value in part.values.items():
            key = Key(name, session, alone.slot).text()
            alone.cells.restore([RestoredCell(key, bytes(value))])
        for name, total in part.counters.items():
            alone.cells.apply([Change(Key(name, session, alone.slot).text(), Op.ADD, amount=total)])


def _save(alone: Alone, path: Path) -> None:
    saved = _Saved({}, {}, {})
    for key, cell in alone.cells.all():
        part = saved.sessions.setdefault(key.session, _Saved({}, {}, {})) if key.session else saved
        if isinstance(cell, int):
            part.counters[key.name] = cell
        else:
            part.values[key.name] = msgspec.Raw(cell)
    beside = path.with_name(f".{path.name}.{os.getpid()}")
    beside.write_bytes(msgspec.json.format(msgspec.json.encode(saved)) + b"\n")
    beside.replace(path)
