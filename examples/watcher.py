"""A maintenance watcher on this machine's live telemetry: it keeps counters and a memory of each sensor.

    meshnode run examples/watcher.py
    meshnode call watcher.sensors
    meshnode call watcher.history sensor=cpu
    meshnode call watcher.limit sensor=memory percent=80

It reads processors, memory and disk every ``WATCHER_EVERY_S`` seconds (default 2), keeps the last readings and the
extremes of each sensor in a session of its own, and emits an event when a sensor goes over its limit. After a restart,
or on another machine, it goes on with what it knew.
"""

import asyncio
import os
from typing import TypedDict

import psutil

from meshnode.sdk import Agent, Ctx, SkillError

agent = Agent("watcher")

EVERY_S = float(os.environ.get("WATCHER_EVERY_S", "2"))
KEPT = 60
LIMITS = {"cpu": 95.0, "memory": 90.0, "disk": 95.0}


class Sensor(TypedDict):
    """One sensor as the watcher knows it; percentages."""

    sensor: str
    readings: int
    last: float | None
    lowest: float | None
    highest: float | None
    limit: float
    alarms: int


def read_sensors() -> dict[str, float]:
    """Percentages of this machine now."""
    return {
        "cpu": psutil.cpu_percent(),
        "memory": psutil.virtual_memory().percent,
        "disk": psutil.disk_usage("/").percent,
    }


def take(ctx: Ctx, sensor: str, value: float) -> bool:
    """Remember one reading. True: it is the first one over the limit after one below."""
    memory = ctx.session(sensor)
    before = memory.get("last")
    limit = memory.get("limit", LIMITS.get(sensor, 100.0))
    memory.counter("readings").add(1)
    memory["last"] = value
    memory["lowest"] = min(value, memory.get("lowest", value))
    memory["highest"] = max(value, memory.get("highest", value))
    memory["history"] = [*memory.get("history", []), value][-KEPT:]
    over = value > limit and (before is None or before <= limit)
    if over:
        memory.counter("alarms").add(1)
    return over


@agent.background
async def watch(ctx: Ctx) -> None:
    """Read all sensors, again and again; one reading of all is one change of state."""
    while True:
        readings = read_sensors()
        async with ctx.turn():
            ctx.state.counter("rounds").add(1)
            over = [sensor for sensor, value in readings.items() if take(ctx, sensor, value)]
        for sensor in over:
            ctx.emit("watcher.alarm", {"sensor": sensor, "percent": readings[sensor]})
        await asyncio.sleep(EVERY_S)


def known(ctx: Ctx, sensor: str) -> Sensor:
    """One row of ``sensors``."""
    memory = ctx.session(sensor)
    return Sensor(
        sensor=sensor,
        readings=memory.counter("readings").value,
        last=memory.get("last"),
        lowest=memory.get("lowest"),
        highest=memory.get("highest"),
        limit=memory.get("limit", LIMITS[sensor]),
        alarms=memory.counter("alarms").value,
    )


@agent.skill(tags=("maintenance",))
def sensors(ctx: Ctx) -> list[Sensor]:
    """List what is known of every sensor."""
    return [known(ctx, sensor) for sensor in LIMITS]


@agent.skill(tags=("maintenance",))
def history(ctx: Ctx, sensor: str) -> list[float]:
    """The last readings of one sensor, oldest first.

    Args:
        sensor: cpu, memory or disk.
    """
    if sensor not in LIMITS:
        raise SkillError("no-such-sensor", f"{sensor} is not watched; there are {', '.join(LIMITS)}")
    return ctx.session(sensor).get("history", [])


@agent.skill
def limit(ctx: Ctx, sensor: str, percent: float) -> Sensor:
    """Set the limit of a sensor; over it, an alarm is emitted.

    Args:
        sensor: cpu, memory or disk.
        percent: 0 to 100.
    """
    if sensor not in LIMITS or not 0 <= percent <= 100:
        raise SkillError("out-of-range", f"{sensor} {percent}: a sensor of {', '.join(LIMITS)} and 0 to 100 percent")
    ctx.session(sensor)["limit"] = percent
    return known(ctx, sensor)


if __name__ == "__main__":
    agent.run()
