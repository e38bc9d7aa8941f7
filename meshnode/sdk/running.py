"""Runs a skill and makes an outcome of whatever its author's code does."""

import asyncio
import traceback
from collections.abc import AsyncGenerator
from typing import Any, Protocol

import msgspec

from meshnode.sdk.asking import PAYLOAD_BYTES_MAX
from meshnode.sdk.context import Ctx
from meshnode.sdk.errors import OWN, SkillError, StateError
from meshnode.sdk.skills import BadArguments, BadResult, Manner, Skill
from meshnode.sdk.threads import Threads

MESSAGE_CHARS_MAX = 2000
_END = object()


class Outcome(msgspec.Struct, frozen=True):
    """How a call ended. ``code`` "" = ok and ``payload`` is the JSON result."""

    code: str = ""
    message: str = ""
    payload: bytes = b""


class Items(Protocol):
    """What takes the items of a stream. ``raw``: also bytes as they are, else all are JSON."""

    @property
    def raw(self) -> bool: ...

    async def item(self, number: int, data: bytes, *, raw: bool = False) -> None:
        """Returns when it may leave."""
        ...


def failed(code: str, message: str) -> Outcome:
    return Outcome(code, message[:MESSAGE_CHARS_MAX])


async def outcome_of(skill: Skill, payload: bytes, ctx: Ctx | None, threads: Threads, flow: Items | None) -> Outcome:
    """Run it. ``flow`` takes the items of a stream, without it they become a list; and one result that is bytes, if its
    reader takes it as it is."""
    try:
        arguments = skill.arguments(payload)
        if skill.ctx_name:
            arguments[skill.ctx_name] = ctx
        if skill.streams:
            result = await _stream(skill, arguments, threads, flow)
        else:
            value = await (skill.function(**arguments) if skill.is_async else threads.run(skill.function, **arguments))
            result = await _only(skill, value, flow) if flow is not None else skill.result(value)
    except Exception as error:  # noqa: BLE001 - the author's code may raise anything; the caller must hear of it
        return _failure(skill, error)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return _failure(skill, error)  # the author's own: something it waited for was cancelled
    if len(result) > PAYLOAD_BYTES_MAX:
        return failed("result-too-long", f"{skill.name} gave {len(result)} bytes; the limit is {PAYLOAD_BYTES_MAX}")
    return Outcome(payload=result)


class _TooLong(Exception):
    pass


def _failure(skill: Skill, error: BaseException) -> Outcome:
    match error:
        case BadArguments():
            return failed("invalid", str(error))
        case BadResult():
            return failed("bad-result", str(error))
        case _TooLong():
            return failed("result-too-long", str(error))
        case SkillError():
            return failed(OWN + error.code, error.message)
        case StateError():
            return failed(error.code, f"{skill.name}: {error.message}")
        case _:
            traceback.print_exception(error)
            return failed("skill-failed", f"{skill.name} raised {type(error).__name__}: {error}")


def _as_is(skill: Skill, value: object, flow: Items | None) -> bytes | None:
    """It, if it goes as it is: there is nothing to check of bytes that are to be bytes."""
    if flow is None or not flow.raw or type(value) is not bytes or not skill.gives_bytes:
        return None
    return value


async def _only(skill: Skill, value: object, flow: Items) -> bytes:
    """The result: empty if it was sent as the only item, so that it need not be JSON."""
    data = _as_is(skill, value, flow)
    if data is None or len(data) > PAYLOAD_BYTES_MAX:  # that is refused as any result
        return skill.result(value) if data is None else data
    await flow.item(0, data, raw=True)
    return b""


async def _stream(skill: Skill, arguments: dict[str, object], threads: Threads, flow: Items | None) -> bytes:
    """The result: empty if the items were sent, else their list. The generator is always closed."""
    parts: list[bytes] = []
    total = number = 0
    made = skill.function(**arguments)
    items: AsyncGenerator[Any, None] = _from_thread(made, threads) if skill.manner is Manner.THREAD_ITEMS else made
    try:
        async for item in items:
            as_is = _as_is(skill, item, flow)
            data = skill.result(item) if as_is is None else as_is
            total = len(data) if flow else total + len(data) + 1
            if total > PAYLOAD_BYTES_MAX:
                what = f"item {number} of {skill.name} is" if flow else f"the items of {skill.name} are"
                raise _TooLong(f"{what} over {PAYLOAD_BYTES_MAX} bytes")
            if flow:
                await flow.item(number, data, raw=as_is is not None)
            else:
                parts.append(data)
            number += 1
    finally:
        await items.aclose()
    return b"" if flow else b"[" + b",".join(parts) + b"]"


async def _from_thread(items: Any, threads: Threads) -> AsyncGenerator[Any, None]:  # noqa: ANN401 - a generator
    working = False
    try:
        while True:
            working = True
            item = await threads.run(lambda: next(items, _END))
            working = False
            if item is _END:
                return
            yield item
    finally:
        if not working:  # one that works cannot be closed; it ends with its thread
            await threads.run(items.close)
