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
from meshnode.wire.blobs import LEAST_BYTES

MESSAGE_CHARS_MAX = 2000
_END = object()


class Outcome(msgspec.Struct, frozen=True):
    """How a call ended. ``code`` "" = ok and ``payload`` is the JSON result, or the result as it is (``raw``)."""

    code: str = ""
    message: str = ""
    payload: bytes = b""
    raw: bool = False


class Items(Protocol):
    """What takes the items of a stream. ``raw``: also bytes as they are, else all are JSON."""

    @property
    def raw(self) -> bool: ...

    async def item(self, number: int, data: bytes, *, raw: bool = False) -> None:
        """Returns when it may leave."""
        ...


def failed(code: str, message: str) -> Outcome:
    return Outcome(code, message[:MESSAGE_CHARS_MAX])


async def outcome_of(
    skill: Skill,
    payload: bytes,
    ctx: Ctx | None,
    threads: Threads,
    flow: Items | None,
    *,
    raw: bool = False,
    as_bytes: bool = False,
) -> Outcome:
    """Run it. ``flow`` takes the items of a stream, without it they become a list; ``raw``: bytes among the arguments
    came as they are; ``as_bytes``: a result that is bytes may go so."""
    try:
        arguments = skill.arguments(payload, raw=raw)
        if skill.ctx_name:
            arguments[skill.ctx_name] = ctx
        if skill.streams:
            result, as_is = await _stream(skill, arguments, threads, flow), None
        else:
            value = await (skill.function(**arguments) if skill.is_async else threads.run(skill.function, **arguments))
            as_is = _as_is(skill, value, LEAST_BYTES) if as_bytes else None
            result = skill.result(value) if as_is is None else as_is
    except Exception as error:  # noqa: BLE001 - the author's code may raise anything; the caller must hear of it
        return _failure(skill, error)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        if task is not None and task.cancelling():
            raise
        return _failure(skill, error)  # the author's own: something it waited for was cancelled
    if len(result) > PAYLOAD_BYTES_MAX:
        return failed("result-too-long", f"{skill.name} gave {len(result)} bytes; the limit is {PAYLOAD_BYTES_MAX}")
    return Outcome(payload=result, raw=as_is is not None)


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


def _as_is(skill: Skill, value: object, least_bytes: int = 0) -> bytes | None:
    """It, if it may go as it is: there is nothing to check of bytes that are to be bytes."""
    return value if type(value) is bytes and skill.gives_bytes and len(value) >= least_bytes else None


async def _stream(skill: Skill, arguments: dict[str, object], threads: Threads, flow: Items | None) -> bytes:
    """The result: empty if the items were sent, else their list. The generator is always closed."""
    parts: list[bytes] = []
    total = number = 0
    made = skill.function(**arguments)
    items: AsyncGenerator[Any, None] = _from_thread(made, threads) if skill.manner is Manner.THREAD_ITEMS else made
    try:
        async for item in items:
            as_is = _as_is(skill, item) if flow is not None and flow.raw else None
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
