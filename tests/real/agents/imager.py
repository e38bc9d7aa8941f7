"""Gives and takes bytes, and says of those of another what came of them."""

import hashlib
import os
from collections.abc import AsyncIterator

from meshnode.sdk import Agent, Ctx

agent = Agent(os.environ.get("MESHNODE_AGENT", "imager"))


def image(length: int) -> bytes:
    """Bytes that no text holds."""
    return (b"\xff\x00\xfe\r\n" * (length // 5 + 1))[:length]


@agent.skill
async def frames(length: int, count: int) -> AsyncIterator[bytes]:
    for number in range(count):
        yield bytes((number,)) + image(length)


@agent.skill
async def picture(length: int) -> bytes:
    return image(length)


@agent.skill
async def digest(data: bytes, word: str = "") -> str:
    return hashlib.sha256(data).hexdigest() + word


@agent.skill(concurrent=True)
async def watch(ctx: Ctx, target: str, length: int, count: int) -> list[str]:
    """Of each item of another's ``frames``: its kind, length and number, and whether it is what was sent."""
    items = ctx.stream(f"{target}.frames", length=length, count=count, as_bytes=True)
    return [f"{type(item).__name__} {len(item)} {item[0]} {item[1:] == image(length)}" async for item in items]


@agent.skill(concurrent=True)
async def fetch(ctx: Ctx, target: str, length: int) -> str:
    data = await ctx.call(f"{target}.picture", length=length, as_bytes=True)
    return f"{type(data).__name__} {data == image(length)}"


@agent.skill(concurrent=True)
async def give(ctx: Ctx, target: str, length: int) -> bool:
    told = await ctx.call(f"{target}.digest", data=image(length), word="!")
    return told == hashlib.sha256(image(length)).hexdigest() + "!"


if __name__ == "__main__":
    agent.run()
