"""Hears events, keeps count, and publishes what it is asked to."""

from meshnode.sdk import Agent, Ctx, Event

agent = Agent("listener")
HEARD: list[tuple[str, str, object]] = []


@agent.on("topic/real/*")
async def heard(event: Event, ctx: Ctx) -> None:
    HEARD.append((event.topic, event.publisher, event.data))
    if event.topic == "topic/real/kept":
        async with ctx.turn():
            ctx.state["last"] = event.data
    if event.data == "raise":
        raise RuntimeError("asked to")


@agent.on("topic/plain")
def plainly(event: Event) -> None:
    HEARD.append((event.topic, event.publisher, event.data))


@agent.skill
def seen() -> list[tuple[str, str, object]]:
    return HEARD


@agent.skill
def last(ctx: Ctx) -> object:
    return ctx.state.get("last")


@agent.skill
async def say(topic: str, data: object, ctx: Ctx, times: int = 1) -> None:
    for _ in range(times):
        await ctx.publish(topic, data)


@agent.skill
def say_from_a_thread(topic: str, data: object, ctx: Ctx) -> None:
    ctx.publish(topic, data)


if __name__ == "__main__":
    agent.run()
