"""An agent at work under its daemon: registers, is restored, serves, outlives its daemon a while, ends in order."""

import asyncio
import inspect
import os
import signal
import sys
import traceback
from collections.abc import AsyncIterator, Coroutine, Mapping
from typing import TYPE_CHECKING, Any

import msgspec

from meshnode import __version__
from meshnode.sdk.asking import Asking
from meshnode.sdk.cells import Cells
from meshnode.sdk.commits import Commits
from meshnode.sdk.connection import ORPHAN_S, Connection, Ended
from meshnode.sdk.context import Ctx
from meshnode.sdk.memory import HookFailed, Memory
from meshnode.sdk.selector import Selector
from meshnode.sdk.serving import Serving
from meshnode.sdk.state import Turn
from meshnode.sdk.threads import Threads
from meshnode.sdk.turns import Slots, Turns
from meshnode.sdk.wheel import Wheel
from meshnode.wire.calls import (
    CallHeader,
    CancelHeader,
    ChunkHeader,
    GrantHeader,
    RegisteredHeader,
    RegisterHeader,
    ResultHeader,
)
from meshnode.wire.frame import Frame, Kind
from meshnode.wire.state import EmitHeader, KeptHeader

if TYPE_CHECKING:
    from meshnode.sdk.agent import Agent
    from meshnode.sdk.topics import Published

# Calls in work have this long to end after a stop; the daemon kills after five seconds.
FINISH_S = 4.0
# MERGE frames that wait for their turn; a daemon waits for MERGED.
MERGES_MAX = 64

_encode = msgspec.msgpack.Encoder().encode
_calls = msgspec.msgpack.Decoder(CallHeader)
_cancels = msgspec.msgpack.Decoder(CancelHeader)
_results = msgspec.msgpack.Decoder(ResultHeader)
_chunks = msgspec.msgpack.Decoder(ChunkHeader)
_grants = msgspec.msgpack.Decoder(GrantHeader)
_kept = msgspec.msgpack.Decoder(KeptHeader)
_registered = msgspec.msgpack.Decoder(RegisteredHeader)


def serve(agent: "Agent", environment: Mapping[str, str]) -> None:
    """Run until asked to stop. Raises ``SystemExit`` with a message if that was not the daemon's wish."""
    with asyncio.Runner(loop_factory=lambda: asyncio.SelectorEventLoop(Selector())) as runner:
        trouble, stuck = runner.run(_serve(agent, environment))
    if trouble:
        print(f"meshnode: {trouble}", file=sys.stderr)  # noqa: T201 - read by the daemon as the reason of the exit
    if stuck:
        # A thread cannot be ended, and the interpreter would wait for it for ever.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1 if trouble else 0)
    if trouble:
        raise SystemExit(1)


async def _serve(agent: "Agent", environment: Mapping[str, str]) -> tuple[str, bool]:
    """What went wrong, and whether threads are stuck."""
    try:
        runtime = Runtime(agent, environment)
    except Ended as ended:
        return str(ended), False
    agent.attach(runtime)
    try:
        await runtime.run()
    except Ended as ended:
        return str(ended), runtime.threads.stuck
    return "", runtime.threads.stuck


class Runtime:
    """One agent process. Everything but the skills' own threads happens in the event loop."""

    def __init__(self, agent: "Agent", environment: Mapping[str, str], *, orphan_s: float = ORPHAN_S) -> None:
        self._agent, self._environment = agent, environment
        self._loop = asyncio.get_running_loop()
        first, count = int(environment.get("MESHNODE_FIRST_SLOT", "0")), int(environment.get("MESHNODE_SLOTS", "1"))
        if count > 1 and not agent.by_slot:
            raise Ended(f"it is to be {count} instances: make it Agent({agent.name!r}, tier='actor')")
        self.threads = Threads()
        self._cells, self._turns = Cells(), Turns()
        self._commits = Commits(self._cells, self._send)
        self._memory = Memory(self._cells, self._commits, self._turns, self.threads, agent.hooks, by_slot=agent.by_slot)
        self._memory.context = self._context
        self._wheel = Wheel()
        self._asking = Asking(self._send, self._wheel)
        self._serving = Serving(
            agent.name,
            agent.skills,
            host=self,
            memory=self._memory,
            commits=self._commits,
            turns=self._turns,
            threads=self.threads,
            wheel=self._wheel,
            send=self._send,
        )
        self._set_slots(first, count)
        self._connection = Connection(
            environment["MESHNODE_BUS"], self._on_frame, self._registration, self._away, orphan_s=orphan_s
        )
        self._end: asyncio.Future[str] = self._loop.create_future()
        self._own: dict[asyncio.Task[None], None] = {}
        self._watching = False
        self._merges = 0
        self._probing = False

    async def run(self) -> None:
        """Raises ``Ended``; returns when asked to stop."""
        for number in (signal.SIGTERM, signal.SIGINT):
            self._loop.add_signal_handler(number, self.stop)
        try:
            # The group stands first: a call may come in the same message as the daemon's welcome.
            async with asyncio.TaskGroup() as self._tasks:
                self._spawn(self._connection.keep(), "connection")
                why = await self._end
                self._serving.stopping = True
                if not why:
                    await self._serving.finish(FINISH_S)
                self._serving.cancel_all()
                for task in list(self._own):
                    task.cancel()
        finally:
            await self._connection.close()
            self._wheel.close()
            self.threads.close()
        if why:
            raise Ended(why)

    def _registration(self) -> Frame:
        given = self._environment
        header = RegisterHeader(
            self._agent.name,
            given["MESHNODE_INSTANCE"],
            given["MESHNODE_TICKET"],
            os.getpid(),
            __version__,
            list(self._agent.hooks.merges),
            resume=self._memory.restored is not None,
            merge_no=self._commits.merge_no,
            parts=True,
        )
        skills = msgspec.json.encode([skill.description for skill in self._agent.skills.values()])
        return Frame(Kind.REGISTER, header=_encode(header), payload=skills)

    def _welcomed(self, header: RegisteredHeader) -> None:
        """Frames may follow in the same message: everything is ready for them when this returns."""
        if self._connection.welcomed(header):
            if self._agent.by_slot:
                self._set_slots(header.first_slot, header.slots)
            self._commits.resend()
            if self._agent.handlers is not None:
                self._send(self._agent.handlers.subscription)

    def _away(self) -> None:
        self._asking.lost()
        self._serving.lost()

    def _set_slots(self, first: int, count: int) -> None:
        if (self._serving.slots.first, self._serving.slots.count) != (first, count):
            self._serving.slots = Slots(first, count)
        self._agent.hooks.first_slot = first

    # What the daemon says

    def _on_frame(self, frame: Frame) -> None:
        try:
            self._heed(frame)
        except (msgspec.MsgspecError, ValueError) as error:
            self._finish(f"the daemon sent a {frame.kind.name} that cannot be read: {error}")

    def _heed(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.CALL:
                self._serving.called(_calls.decode(frame.header), frame.payload, self._tasks)
            case Kind.RESULT:
                self._asking.answered(_results.decode(frame.header), frame.payload)
            case Kind.KEPT:
                self._commits.kept(_kept.decode(frame.header))
            case Kind.CHUNK:
                self._asking.item(_chunks.decode(frame.header), frame.payload)
            case Kind.GRANT:
                self._serving.granted(_grants.decode(frame.header))
            case Kind.EVENT:
                if self._agent.handlers is not None:
                    self._agent.handlers.heard(frame)
            case Kind.CANCEL:
                self._serving.cancelled(_cancels.decode(frame.header).call_id)
            case Kind.PING:
                self._pinged(frame)
            case _:
                self._heed_rare(frame)

    def _heed_rare(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.REGISTERED:
                self._welcomed(_registered.decode(frame.header))
            case Kind.RESTORE:
                if self._memory.restore(frame):
                    self._spawn(self._restored(), "restore")
            case Kind.MERGE:
                if self._merges >= MERGES_MAX:
                    self._finish(f"the daemon sent {MERGES_MAX} merges that wait")
                    return
                self._merges += 1
                self._spawn(self._merge(frame), "merge")
            case Kind.STOP:
                self.stop()
            case _:
                pass  # of a later version; every kind that needs an answer has one that is known here

    def _spawn(self, work: Coroutine[Any, Any, None], name: str) -> None:
        task = self._tasks.create_task(self._guarded(work), name=name)
        self._own[task] = None
        task.add_done_callback(self._own.pop)

    async def _guarded(self, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
        except HookFailed as error:
            traceback.print_exception(error)
            self._finish(str(error))
        except Ended as ended:
            self._finish(str(ended))

    async def _restored(self) -> None:
        """Calls begin when the restore hook has run; so does what the agent does by itself."""
        if not self._agent.by_slot:
            slot = self._serving.slots.first
            await self._turns.take(slot)
            try:
                await self._memory.prepare(slot)
            finally:
                self._turns.release(slot)
        self._memory.ready.set()
        if not self._watching:
            self._watching = True
            for loop in self._agent.hooks.background:
                self._spawn(self._watch(loop), f"background {loop.__name__}")
            for handler in self._agent.handlers.all if self._agent.handlers is not None else ():
                self._spawn(handler.work(self._event_context, self.threads), f"on {handler.wanted}")

    async def _merge(self, frame: Frame) -> None:
        await self._memory.ready.wait()
        try:
            await self._memory.merge(frame)
        except msgspec.MsgspecError as error:
            self._finish(f"the daemon sent a MERGE that cannot be read: {error}")
        finally:
            self._merges -= 1

    async def _watch(self, loop: Any) -> None:  # noqa: ANN401 - the author's
        slot = self._serving.slots.first
        try:
            await loop(self._context(self._memory.turn(slot, is_open=False), slot))
        except Exception as error:
            raise HookFailed(f"background {loop.__name__} raised {type(error).__name__}: {error}") from error

    def _pinged(self, frame: Frame) -> None:
        """Answered from the loop: one that is blocked is not alive. A probe that says no leaves it unanswered."""
        if self.threads.exhausted or self._probing:
            return
        if self._agent.hooks.probe is None:
            self._send(Frame(Kind.PONG, stream=frame.stream))
        else:
            self._probing = True
            self._spawn(self._probe(frame), "probe")

    async def _probe(self, frame: Frame) -> None:
        try:
            well = self._agent.hooks.probe() if self._agent.hooks.probe is not None else True
            if inspect.isawaitable(well):
                well = await well
        except Exception as error:  # noqa: BLE001 - a probe that raises says no
            traceback.print_exception(error)
            well = False
        finally:
            self._probing = False
        if well:
            self._send(Frame(Kind.PONG, stream=frame.stream))

    # What a context needs (context.Host)

    def call(
        self,
        skill: str,
        arguments: Mapping[str, object],
        deadline_s: float,
        session: str,
        key: str,
        *,
        batch: bool,
        as_bytes: bool,
    ) -> Any:  # noqa: ANN401
        asked = self._asking.call(skill, arguments, deadline_s, session, key, batch=batch, as_bytes=as_bytes)
        if self.threads.here_is_loop:
            return asked
        return asyncio.run_coroutine_threadsafe(asked, self._loop).result()

    def stream(
        self, skill: str, arguments: Mapping[str, object], deadline_s: float, session: str, *, as_bytes: bool
    ) -> AsyncIterator[Any]:
        return self._asking.stream(skill, arguments, deadline_s, session, as_bytes=as_bytes)

    def emit(self, kind: str, data: bytes) -> None:
        frame = Frame(Kind.EMIT, header=_encode(EmitHeader(kind)), payload=data)
        if self.threads.here_is_loop:
            self._send(frame)
        else:
            self._loop.call_soon_threadsafe(self._send, frame)

    def publish(self, topic: str, data: object) -> "Published":
        from meshnode.sdk.topics import PUBLISHED, event_frame  # most agents never do

        frame = event_frame(topic, data)
        if self.threads.here_is_loop:
            self._send(frame)
        else:
            self._loop.call_soon_threadsafe(self._send, frame)
        return PUBLISHED

    async def take(self, turn: Turn) -> None:
        await self._commits.room.wait()
        await self._turns.take(self._slot_of(turn))
        turn.begin()

    def release(self, turn: Turn, *, commit: bool) -> None:
        try:
            changes = turn.settle() if commit else []
            if changes:
                self._commits.commit(changes)
        finally:
            turn.drop()
            self._turns.release(self._slot_of(turn))

    # Small steps

    def _event_context(self) -> Ctx:
        slot = self._serving.slots.first
        return self._context(self._memory.turn(slot, is_open=False), slot)

    def _context(self, turn: Turn, slot: int) -> Ctx:
        return Ctx(self, turn, instance=f"{self._agent.name}/{slot}", slot=slot)

    def _slot_of(self, turn: Turn) -> int:
        return turn.key_slot if turn.key_slot >= 0 else self._serving.slots.first

    def _send(self, *frames: Frame) -> bool:
        return self._connection.send(*frames)

    def stop(self) -> None:
        self._serving.stopping = True
        self._finish("")

    def _finish(self, why: str) -> None:
        if not self._end.done():
            self._end.set_result(why)
