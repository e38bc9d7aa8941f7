"""AutoGen's runtime over gRPC, plaintext: from an agent's process by the host to an agent of another worker and back.

``autogen_calls.py PORT`` says ``{"ready": true}``, then answers each line ``WHERE SAMPLES WINDOW_S`` with
``{"us": [...], "calls_s": ...}``: latencies one after another, and calls a second with 64 in flight. WHERE is always
"cross".
"""

import asyncio
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass

from autogen_core import AgentId, MessageContext, RoutedAgent, message_handler, try_get_known_serializers_for_type
from autogen_ext.runtimes.grpc import GrpcWorkerAgentRuntime, GrpcWorkerAgentRuntimeHost

WARM, WARM_AGAIN = 300, 50
IN_FLIGHT = 64
TEXT = "x" * 128
TRIES_MAX, AGAIN_S, ANSWER_S = 50, 0.1, 5.0


@dataclass
class Asked:
    """One call."""

    text: str


@dataclass
class Answered:
    """What it gives."""

    text: str


class Echo(RoutedAgent):
    """Gives back what it was given."""

    def __init__(self) -> None:
        super().__init__("echo")

    @message_handler
    async def asked(self, message: Asked, _: MessageContext) -> Answered:
        return Answered(message.text)


async def runtime(address: str) -> GrpcWorkerAgentRuntime:
    made = GrpcWorkerAgentRuntime(host_address=address)
    await made.start()
    for kind in (Asked, Answered):
        made.add_message_serializer(try_get_known_serializers_for_type(kind))
    return made


async def host(address: str) -> None:
    GrpcWorkerAgentRuntimeHost(address=address).start()
    await stay()


async def worker(address: str) -> None:
    await Echo.register(await runtime(address), "echo", Echo)
    await stay()


async def stay() -> None:
    print("ready", flush=True)
    await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    os._exit(0)


def started(role: str, address: str) -> subprocess.Popen[bytes]:
    """Another role of this script, which ends with this process."""
    made = subprocess.Popen(
        [sys.executable, __file__, address, role], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert made.stdout is not None
    if not made.stdout.readline():
        sys.exit(f"AutoGen's {role} did not start")
    return made


async def measured(address: str) -> None:
    started_here = [started("host", address), started("worker", address)]
    mesh, to = await runtime(address), AgentId("echo", "one")

    async def call() -> None:
        await mesh.send_message(Asked(TEXT), to)

    for _ in range(TRIES_MAX):  # until the host has heard of the worker
        try:
            await asyncio.wait_for(call(), ANSWER_S)
            break
        except Exception:  # noqa: BLE001 - the library's own, of several kinds
            await asyncio.sleep(AGAIN_S)
    print(json.dumps({"ready": True}), flush=True)
    warm = WARM
    while line := await asyncio.to_thread(sys.stdin.readline):
        _, samples, window_s = line.split()
        took, warm = await sequence(call, warm, int(samples)), WARM_AGAIN
        print(json.dumps({"us": took, "calls_s": await window(call, float(window_s))}), flush=True)
    for process in started_here:
        process.kill()
    os._exit(0)


async def sequence(call, warm: int, samples: int) -> list[float]:  # noqa: ANN001 - a coroutine function
    for _ in range(warm):
        await call()
    took = []
    for _ in range(samples):
        began = time.perf_counter()
        await call()
        took.append(round((time.perf_counter() - began) * 1e6, 1))
    return took


async def window(call, window_s: float) -> float:  # noqa: ANN001 - a coroutine function
    if not window_s:
        return 0.0
    count, began = 0, time.perf_counter()

    async def one() -> None:
        nonlocal count
        while time.perf_counter() - began < window_s:
            await call()
            count += 1

    await asyncio.gather(*[one() for _ in range(IN_FLIGHT)])
    return count / (time.perf_counter() - began)


if __name__ == "__main__":
    if len(sys.argv) > 2:
        asyncio.run({"host": host, "worker": worker}[sys.argv[2]](sys.argv[1]))
    else:
        asyncio.run(measured(f"127.0.0.1:{int(sys.argv[1])}"))
