"""Runs a skill and makes an outcome of whatever its author's code does."""

import asyncio
import traceback
from collections.abc import AsyncGenerator, Callable
from typing import Any

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


def failed(code: str, message: str) -> Outcome:
    return Outcome(code, message[:MESSAGE_CHARS_MAX])


async def outcome_of(
    skill: Skill, payload: bytes, ctx: Ctx | None, threads: Threads, send_item: Callable[[int, bytes], Any] | None
) -> Outcome:
    """Run it. ``send_item(number, json)``, awaited, takes the items of a stream; without it they become a list."""
    try:
        arguments = skill.arguments(payload)
        if skill.ctx_name:
            arguments[skill.ctx_name] = ctx
        if skill.streams:
            result = await _stream(skill, arguments, threads, send_item)
        elif skill.is_async:
            result = skill.result(await skill.function(**arguments))
        else:
            result = skill.result(await threads.run(skill.function, **arguments))
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


async def _stream(
    skill: Skill, arguments: dict[str, object], threads: Threads, send_item: Callable[[int, bytes], Any] | None
) -> bytes:
    """The result: empty if the items were sent, else their list. The generator is always closed."""
    parts: list[bytes] = []
    total = number = 0
    made = skill.function(**arguments)
    items: AsyncGenerator[Any, None] = _from_thread(made, threads) if skill.manner is Manner.THREAD_ITEMS else made
    try:
        async for item in items:
            data = skill.result(item)
            total = len(data) if send_item else total + len(data) + 1
            if total > PAYLOAD_BYTES_MAX:
                what = f"item {number} of {skill.name} is" if send_item else f"the items of {skill.name} are"
                raise _TooLong(f"{what} over {PAYLOAD_BYTES_MAX} bytes")
            if send_item:
                await send_item(number, data)
            else:
                parts.append(data)
            number += 1
    finally:
        await items.aclose()
    return b"" if send_item else b"[" + b",".join(parts) + b"]"


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
