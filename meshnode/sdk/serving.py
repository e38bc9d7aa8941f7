"""Serves calls: admits, waits for the turn, runs, commits, answers once, or not at all when nobody waits any more.

Invariant: a call changes the state only in the step that sends its answer. Whatever ends it earlier, changes nothing.
"""

import asyncio
import functools
from collections.abc import Callable, Mapping

from meshnode.sdk.asking import serving_due_s
from meshnode.sdk.commits import Commits
from meshnode.sdk.context import Ctx, Host
from meshnode.sdk.errors import StateError
from meshnode.sdk.memory import HookFailed, Memory
from meshnode.sdk.running import Outcome, failed, outcome_of
from meshnode.sdk.skills import Skill
from meshnode.sdk.state import Turn
from meshnode.sdk.streams import Credit, Flow
from meshnode.sdk.threads import Threads
from meshnode.sdk.turns import Slots, Turns
from meshnode.sdk.wheel import Wheel
from meshnode.sdk.workers import Workers
from meshnode.wire import plain
from meshnode.wire.calls import CallHeader, GrantHeader, ResultHeader, encoded_result
from meshnode.wire.frame import Frame, Kind
from meshnode.wire.state import Change

# Calls in work at once, or one per slot if there are more slots; the caller of one more is told so.
CALLS_MAX = 256


class _Call:
    """One call in work. ``ended``: why nobody waits for it any more, "" while somebody does. ``twin``: what had its key
    when it came; the answer of that may have been kept before this call begins."""

    __slots__ = (
        "began_s", "credit", "due", "due_s", "ended", "header", "limit", "payload", "skill", "slot", "task", "twin",
    )  # fmt: skip

    def __init__(self, skill: Skill, header: CallHeader, payload: bytes, slot: int, now_s: float) -> None:
        self.skill, self.header, self.payload, self.slot = skill, header, payload, slot
        self.began_s = now_s
        self.due_s = now_s + header.deadline_ms / 1000
        self.credit = Credit() if header.stream and skill.streams else None
        self.ended = ""
        self.due = self.limit = 0  # its places on the wheel, once it waits
        self.twin: _Keyed | None = None
        self.task: asyncio.Task[None] | None = None  # that runs it, once it has begun

    def end(self, why: str) -> None:
        if not self.ended:
            self.ended = why
            if self.task is not None:
                self.task.cancel()


class _Keyed:
    """A call with an idempotency key, until the daemon has kept its answer; repeats wait for ``outcome``."""

    __slots__ = ("outcome", "skill")

    def __init__(self, skill: str) -> None:
        self.skill = skill
        # None: it was withdrawn before it did anything; the next one with the key runs.
        self.outcome: asyncio.Future[tuple[Outcome, int] | None] = asyncio.get_running_loop().create_future()


class Serving:
    """The calls in work of one process. ``send`` drops frames while there is no daemon."""

    def __init__(
        self,
        agent: str,
        skills: Mapping[str, Skill],
        *,
        host: Host,
        memory: Memory,
        commits: Commits,
        turns: Turns,
        threads: Threads,
        wheel: Wheel,
        send: Callable[..., object],
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._agent, self._skills, self._host = agent, skills, host
        self._memory, self._commits, self._turns, self._threads = memory, commits, turns, threads
        self._wheel, self._send = wheel, send
        self.slots = Slots()
        self.stopping = False
        self._calls: dict[bytes, _Call] = {}
        self._keyed: dict[str, _Keyed] = {}
        self._workers: Workers[_Call] = Workers(self._serve, self._waits)
        self._quiet: asyncio.Future[None] | None = None  # awaited: the last call has ended
        self._names: dict[int, bytes] = {}  # of slots, as they stand in the headers of answers

    # What the daemon says

    def called(self, header: CallHeader, payload: bytes, tasks: asyncio.TaskGroup) -> None:
        if header.call_id in self._calls:
            return  # a daemon that came back asks again for what is in work
        skill = self._skills.get(header.skill)
        refusal = self._refusal(header, skill)
        if skill is None or refusal is not None:
            self._answer(header.call_id, refusal or Outcome())
            return
        slot = self.slots.enter(header.slot)
        call = _Call(skill, header, payload, slot, self._loop.time())
        if header.idempotency_key:
            call.twin = self._keyed.get(header.idempotency_key)
        self._calls[header.call_id] = call
        self._workers.add(call, tasks)

    def cancelled(self, call_id: bytes) -> None:
        call = self._calls.get(call_id)
        if call is not None:
            call.end("cancelled")
            if call.task is None:  # it stands in the line: what comes behind it has its room at once
                self._leave(call)

    def granted(self, header: GrantHeader) -> None:
        call = self._calls.get(header.call_id)
        if call is not None and call.credit is not None:
            call.credit.grant(header.total, header.total_bytes, raw=header.raw)

    def lost(self) -> None:
        """The daemon is gone: streams have lost items and end; the other calls go on."""
        for call in list(self._calls.values()):
            if call.credit is not None:
                call.end("cancelled")

    async def finish(self, within_s: float) -> None:
        """Let what is in work end, for so long at most."""
        if self._calls:
            self._quiet = self._loop.create_future()
            await asyncio.wait((self._quiet,), timeout=within_s)

    def cancel_all(self) -> None:
        for call in list(self._calls.values()):
            call.end("stopped")
        self._workers.close()

    # One call

    def _refusal(self, header: CallHeader, skill: Skill | None) -> Outcome | None:
        calls_max = max(CALLS_MAX, self.slots.count)
        if self.stopping:
            return failed("unavailable", f"agent {self._agent} is stopping")
        if skill is None:
            return failed("not-found", f"agent {self._agent} has no skill {header.skill}")
        if header.slot >= 0 and header.slot not in self.slots:
            return failed("not-found", f"{self._agent}/{header.slot} is not in this process")
        if header.deadline_ms <= 0:
            return failed("timeout", f"{header.skill}: the deadline had passed when the call arrived; it did not run")
        if len(self._calls) >= calls_max:
            return failed("overloaded", f"agent {self._agent} works on {calls_max} calls")
        if not self._commits.room.is_set() and (skill.ctx_name or header.idempotency_key):
            return failed("overloaded", f"agent {self._agent} waits for its daemon to keep what it changed")
        if header.stream and skill.streams and header.idempotency_key:
            return failed("invalid", f"{header.skill}: a stream cannot be repeated, so it takes no idempotency key")
        return None

    async def _serve(self, call: _Call, task: asyncio.Task[None]) -> None:
        if self._calls.get(call.header.call_id) is not call:
            return  # it was withdrawn as it stood in the line
        call.task = task
        try:
            if not call.ended:
                await self._timed(call)
        finally:
            self._leave(call)

    def _leave(self, call: _Call) -> None:
        del self._calls[call.header.call_id]
        self.slots.leave(call.slot)
        if self._quiet is not None and not self._calls and not self._quiet.done():
            self._quiet.set_result(None)

    def _waits(self, call: _Call) -> None:
        """It does not end at once: from now on its time may pass."""
        call.due = self._wheel.set(call, call.due_s, functools.partial(call.end, "deadline"))
        limit_s = call.skill.timeout_s
        if limit_s is not None and limit_s * 1000 < call.header.deadline_ms:
            end = functools.partial(call.end, "limit")
            call.limit = self._wheel.set(call.header.call_id, call.began_s + limit_s, end)

    async def _timed(self, call: _Call) -> None:
        serving_due_s.set(call.due_s)
        try:
            if call.header.idempotency_key or not self._memory.ready.is_set():
                await self._admitted(call)
            else:
                await self._in_turn(call)
        except asyncio.CancelledError:
            if not call.ended:
                raise
        finally:
            if call.due:
                self._wheel.clear(call, call.due)
            if call.limit:
                self._wheel.clear(call.header.call_id, call.limit)
        if call.ended == "limit":
            words = f"{call.skill.name} did not end within its own limit of {call.skill.timeout_s} s"
            self._answer(call.header.call_id, failed("timeout", words), call)

    async def _admitted(self, call: _Call) -> None:
        if not self._memory.ready.is_set():
            await self._memory.ready.wait()
        key = call.header.idempotency_key
        if not key:
            await self._in_turn(call)
        elif not await self._attached(call, key):
            await self._keyed_turn(call, key)

    async def _attached(self, call: _Call, key: str) -> bool:
        """Wait for the outcome of a call with the same key, if there is one that does something."""
        other = call.twin or self._keyed.get(key)
        while other is not None:
            if other.skill != call.skill.name:
                words = f"{call.skill.name}: its idempotency key was used for {other.skill}"
                self._answer(call.header.call_id, failed("invalid", words), call)
                return True
            ended = await asyncio.shield(other.outcome)
            if ended is not None:
                self._answer(call.header.call_id, ended[0], call, version=ended[1], replayed=True)
                return True
            other = self._keyed.get(key)
        return False

    async def _keyed_turn(self, call: _Call, key: str) -> None:
        keyed = self._keyed[key] = _Keyed(call.skill.name)
        outcome: Outcome | None = None
        try:
            outcome = await self._in_turn(call)
        finally:
            if outcome is None or outcome.code:  # else when the daemon has kept it: see _kept
                del self._keyed[key]
                keyed.outcome.set_result(None if outcome is None else (outcome, 0))

    def _kept(self, key: str, outcome: Outcome, version: int) -> None:
        keyed = self._keyed.pop(key)
        keyed.outcome.set_result((outcome, version))

    async def _in_turn(self, call: _Call) -> Outcome | None:
        """``None``: it was withdrawn. Otherwise it has been answered."""
        if not call.skill.takes_turns:
            return await self._run(call)
        await self._turns.take(call.slot)
        try:
            await self._memory.prepare(call.slot)
            return await self._run(call)
        except HookFailed as error:
            outcome = failed("restore-failed", str(error))
            self._answer(call.header.call_id, outcome, call)
            return outcome
        finally:
            self._turns.release(call.slot)

    async def _run(self, call: _Call) -> Outcome | None:
        """A skill without a context has no state to change, and needs neither."""
        turn = self._memory.turn(call.slot) if call.skill.ctx_name else None
        ctx = None if turn is None else self._context(call, turn)
        flow = Flow(call.header.call_id, call.credit, self._send) if call.credit else None
        try:
            header = call.header
            outcome = await outcome_of(
                call.skill, call.payload, ctx, self._threads, flow, raw=header.raw,
                as_bytes=header.as_bytes and not header.idempotency_key,  # what is to be kept is JSON
            )  # fmt: skip
            if call.ended:
                return None  # its code did not let the cancellation pass
            if flow is not None:
                flow.flush()
            return self._commit(call, [] if turn is None or outcome.code else turn.settle(), outcome)
        except StateError as error:
            outcome = failed(error.code, f"{call.skill.name}: {error.message}")
            self._answer(call.header.call_id, outcome, call)
            return outcome
        finally:
            if flow is not None:
                flow.drop()
            if turn is not None:
                turn.drop()

    def _context(self, call: _Call, turn: Turn) -> Ctx:
        header = call.header
        return Ctx(
            self._host,
            turn,
            instance=f"{self._agent}/{call.slot}",
            slot=call.slot,
            caller=header.caller,
            key=header.idempotency_key,
            session=header.session,
            due_s=call.due_s,
            call=header.call_id[:4].hex(),
        )

    def _commit(self, call: _Call, changes: list[Change], outcome: Outcome) -> Outcome:
        key = call.header.idempotency_key
        if outcome.code or not (changes or key):
            self._answer(call.header.call_id, outcome, call)
            return outcome
        self._commits.commit(
            changes,
            call_id=call.header.call_id,
            key=key,
            result=self._result(call.header.call_id, outcome, call),
            on_kept=(lambda version: self._kept(key, outcome, version)) if key else None,
        )
        return outcome

    # Answers

    def _answer(
        self,
        call_id: bytes,
        outcome: Outcome,
        call: _Call | None = None,
        *,
        version: int = 0,
        replayed: bool = False,
    ) -> None:
        self._send(self._result(call_id, outcome, call, version=version, replayed=replayed))

    def _result(
        self,
        call_id: bytes,
        outcome: Outcome,
        call: _Call | None,
        *,
        version: int = 0,
        replayed: bool = False,
    ) -> Frame:
        instance, ran_us = "", 0
        if call is not None:
            ran_us = int((self._loop.time() - call.began_s) * 1e6)
            if not (outcome.code or version or replayed or outcome.raw):
                name = self._names.get(call.slot) or self._name(call.slot)
                return Frame(Kind.RESULT, header=plain.result(call_id, name, ran_us), payload=outcome.payload)
            instance = f"{self._agent}/{call.slot}"
        header = ResultHeader(
            call_id, outcome.code, outcome.message, instance, ran_us, version=version, replayed=replayed,
            raw=outcome.raw,
        )  # fmt: skip
        return Frame(Kind.RESULT, header=encoded_result(header), payload=outcome.payload)

    def _name(self, slot: int) -> bytes:
        name = self._names[slot] = plain.text(f"{self._agent}/{slot}")
        return name
