"""An agent at work under its daemon: registers, serves calls, makes calls, and ends with the daemon."""

import asyncio
import contextlib
import contextvars
import os
import secrets
import signal
import sys
import traceback
from collections.abc import Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import msgspec

from meshnode import __version__
from meshnode.sdk.errors import OWN, CallFailed, DeadlinePassed, SkillError, Unavailable, failure_of
from meshnode.sdk.link import Link
from meshnode.sdk.skills import BadArguments, Skill
from meshnode.wire.calls import CallHeader, CancelHeader, RegisteredHeader, RegisterHeader, ResultHeader
from meshnode.wire.frame import FRAME_BYTES_MAX, HEADER_BYTES_MAX, Frame, Kind

# Calls in work at once; the caller of one more is told so.
CALLS_MAX = 256
THREADS_MAX = 32
PAYLOAD_BYTES_MAX = FRAME_BYTES_MAX - HEADER_BYTES_MAX - 64
MESSAGE_CHARS_MAX = 2000
# How long the daemon may take to answer the registration.
REGISTER_S = 10.0
# Calls in work have this long to end after a stop; the daemon kills after five seconds.
FINISH_S = 4.0

_encode = msgspec.msgpack.Encoder().encode
_calls = msgspec.msgpack.Decoder(CallHeader)
_cancels = msgspec.msgpack.Decoder(CancelHeader)
_results = msgspec.msgpack.Decoder(ResultHeader)
_registered = msgspec.msgpack.Decoder(RegisteredHeader)

# When the call that is being served must be answered, on the loop's clock: calls made for it end by then too.
_due_s: contextvars.ContextVar[float | None] = contextvars.ContextVar("due_s", default=None)


class DaemonLost(Exception):
    """There is nobody to work for. The message says why."""


def serve(runtime: "Runtime") -> None:
    """Run until asked to stop. Raises ``SystemExit`` with a message if that was not the daemon's wish."""
    trouble = ""
    try:
        asyncio.run(runtime.run())
    except DaemonLost as error:
        trouble = f"meshnode: {error}"
        print(trouble, file=sys.stderr)  # noqa: T201 - read by the daemon as the reason of the exit
    if runtime.has_stuck_threads():
        # A thread cannot be ended, and the interpreter would wait for it for ever.
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(1 if trouble else 0)
    if trouble:
        raise SystemExit(1)


class Runtime:
    """One agent process. Everything but the skills' own threads happens in the event loop."""

    def __init__(self, agent: str, skills: Mapping[str, Skill], environment: Mapping[str, str]) -> None:
        self._agent, self._skills, self._environment = agent, skills, environment
        self._threads = ThreadPoolExecutor(THREADS_MAX, thread_name_prefix="skill")
        self._jobs: dict[Future[object], None] = {}
        self._serving: dict[bytes, asyncio.Task[None]] = {}
        self._asking: dict[bytes, asyncio.Future[bytes]] = {}
        self._stopping = False
        self._link: Link | None = None
        self._tasks: asyncio.TaskGroup | None = None

    async def run(self) -> None:
        """Raises ``DaemonLost``; returns when asked to stop."""
        loop = asyncio.get_running_loop()
        self._welcome: asyncio.Future[RegisteredHeader] = loop.create_future()
        self._end: asyncio.Future[None] = loop.create_future()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop)
        self._link = Link(self._environment["MESHNODE_BUS"], self._on_frame, self._on_lost)
        try:
            # The group stands first: a call may come in the same message as the daemon's welcome.
            async with asyncio.TaskGroup() as self._tasks:
                lost = await self._work()
                self._cancel_all()
        finally:
            self._link.close()
            self._threads.shutdown(wait=False, cancel_futures=True)
        if lost is not None:
            raise lost

    async def _work(self) -> DaemonLost | None:
        try:
            await self._register()
            await self._end
            await self._finish()
        except DaemonLost as error:
            return error
        return None

    def has_stuck_threads(self) -> bool:
        return any(job.running() for job in self._jobs)

    # Making calls

    async def call(self, skill: str, arguments: dict[str, object], deadline_s: float) -> Any:  # noqa: ANN401 - JSON
        loop = asyncio.get_running_loop()
        if self._link is None or self._stopping:
            raise Unavailable("unavailable", "this agent is stopping")
        due_s = min(loop.time() + deadline_s, _due_s.get() or float("inf"))
        payload = msgspec.json.encode(arguments)
        if len(payload) > PAYLOAD_BYTES_MAX:
            raise CallFailed("invalid", f"{skill}: the arguments are over {PAYLOAD_BYTES_MAX} bytes")
        left_ms = int((due_s - loop.time()) * 1000)
        if left_ms <= 0:
            raise DeadlinePassed("timeout", f"{skill}: the deadline had passed before the call")
        call_id = secrets.token_bytes(16)
        answer: asyncio.Future[bytes] = loop.create_future()
        self._asking[call_id] = answer
        self._link.send(Frame(Kind.CALL, header=_encode(CallHeader(call_id, skill, left_ms)), payload=payload))
        try:
            # The daemon ends the call at its deadline; this is for a daemon that hangs.
            async with asyncio.timeout_at(due_s + 1.0):
                result = await answer
        except TimeoutError as error:
            raise DeadlinePassed("timeout", f"{skill}: the daemon did not answer in time") from error
        finally:
            del self._asking[call_id]
            if answer.cancelled():
                self._link.send(Frame(Kind.CANCEL, header=_encode(CancelHeader(call_id, "cancelled by the caller"))))
        return msgspec.json.decode(result) if result else None

    # What the daemon says

    def _on_frame(self, frame: Frame) -> None:
        try:
            self._heed(frame)
        except msgspec.MsgspecError as error:
            self._on_lost(f"it sent a {frame.kind.name} that cannot be read: {error}")

    def _heed(self, frame: Frame) -> None:
        match frame.kind:
            case Kind.CALL:
                self._called(_calls.decode(frame.header), frame.payload)
            case Kind.RESULT:
                self._answered(_results.decode(frame.header), frame.payload)
            case Kind.CANCEL:
                task = self._serving.get(_cancels.decode(frame.header).call_id)
                if task is not None:
                    task.cancel()
            case Kind.PING:
                self._send(Frame(Kind.PONG, stream=frame.stream))
            case Kind.REGISTERED:
                self._welcomed(_registered.decode(frame.header))
            case Kind.STOP:
                self._stop()
            case _:
                pass  # of a later version; every kind that needs an answer has one that is known here

    def _welcomed(self, header: RegisteredHeader) -> None:
        if self._welcome.done():
            self._on_lost(header.message)
        else:
            self._welcome.set_result(header)

    def _on_lost(self, why: str) -> None:
        error = DaemonLost(f"the daemon is gone: {why}")
        for future in (self._welcome, self._end):
            if not future.done():
                future.set_exception(error)
                future.exception()  # seen: only one of the two is awaited at a time

    def _stop(self) -> None:
        self._stopping = True
        if not self._end.done():
            self._end.set_result(None)

    def _answered(self, header: ResultHeader, payload: bytes) -> None:
        answer = self._asking.get(header.call_id)
        if answer is None or answer.done():
            return
        if header.code:
            answer.set_exception(failure_of(header.code, header.message))
        else:
            answer.set_result(payload)

    def _called(self, header: CallHeader, payload: bytes) -> None:
        skill = self._skills.get(header.skill)
        if self._stopping or self._tasks is None:
            self._refuse(header, "unavailable", f"agent {self._agent} is stopping")
        elif skill is None:
            self._refuse(header, "not-found", f"agent {self._agent} has no skill {header.skill}")
        elif len(self._serving) >= CALLS_MAX:
            self._refuse(header, "overloaded", f"agent {self._agent} works on {CALLS_MAX} calls")
        else:
            task = self._tasks.create_task(self._serve(skill, header, payload), name=f"call {header.skill}")
            self._serving[header.call_id] = task
            task.add_done_callback(lambda _: self._serving.pop(header.call_id, None))

    # Serving calls

    async def _serve(self, skill: Skill, header: CallHeader, payload: bytes) -> None:
        """Answer once, or not at all when the deadline has passed or the caller gave up: then nobody waits."""
        loop = asyncio.get_running_loop()
        began_s = loop.time()
        _due_s.set(began_s + header.deadline_ms / 1000)
        try:
            async with asyncio.timeout(header.deadline_ms / 1000):
                code, message, result = await self._outcome(skill, payload)
        except TimeoutError:
            return
        ran_us = int((loop.time() - began_s) * 1e6)
        answer = ResultHeader(header.call_id, code, message, self._environment["MESHNODE_INSTANCE"], ran_us)
        self._send(Frame(Kind.RESULT, header=_encode(answer), payload=result))

    async def _outcome(self, skill: Skill, payload: bytes) -> tuple[str, str, bytes]:
        """(code, message, result) of running the skill; whatever its author's code raises becomes an answer."""
        try:
            result = skill.result(await self._run(skill, skill.arguments(payload)))
        except BadArguments as error:
            return "invalid", str(error)[:MESSAGE_CHARS_MAX], b""
        except SkillError as error:
            return OWN + error.code, error.message[:MESSAGE_CHARS_MAX], b""
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything; the caller must hear of it
            traceback.print_exc()
            words = f"{skill.name} raised {type(error).__name__}: {error}"
            return "skill-failed", words[:MESSAGE_CHARS_MAX], b""
        if len(result) > PAYLOAD_BYTES_MAX:
            words = f"{skill.name} returned {len(result)} bytes; the limit is {PAYLOAD_BYTES_MAX}"
            return "result-too-long", words, b""
        return "", "", result

    async def _run(self, skill: Skill, arguments: dict[str, object]) -> object:
        if skill.is_async:
            return await skill.function(**arguments)
        job = self._threads.submit(skill.function, **arguments)
        self._jobs[job] = None
        job.add_done_callback(lambda job: self._jobs.pop(job, None))
        return await asyncio.wrap_future(job)

    # Small steps

    async def _register(self) -> None:
        given = self._environment
        header = RegisterHeader(
            self._agent, given["MESHNODE_INSTANCE"], given["MESHNODE_TICKET"], os.getpid(), __version__
        )
        skills = msgspec.json.encode([skill.description for skill in self._skills.values()])
        self._send(Frame(Kind.REGISTER, header=_encode(header), payload=skills))
        try:
            async with asyncio.timeout(REGISTER_S):
                answer = await self._welcome
        except TimeoutError as error:
            raise DaemonLost("the daemon did not answer the registration") from error
        if answer.refusal:
            raise DaemonLost(f"the daemon refused this agent: {answer.refusal}: {answer.message}")

    async def _finish(self) -> None:
        if self._serving:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(FINISH_S):
                    await asyncio.wait(list(self._serving.values()))

    def _cancel_all(self) -> None:
        self._stopping = True
        for task in self._serving.values():
            task.cancel()

    def _refuse(self, header: CallHeader, code: str, message: str) -> None:
        self._send(Frame(Kind.RESULT, header=_encode(ResultHeader(header.call_id, code, message))))

    def _send(self, frame: Frame) -> None:
        if self._link is not None:
            self._link.send(frame)
