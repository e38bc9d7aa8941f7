"""ZeroMQ as pyzmq's asyncio sockets drive it, ROUTER and DEALER over ipc, plaintext: ``server PORT DIRECTORY`` echoes.

Two processes and one hop each way: a call of ours through a daemon takes two. The socket lies in ``DIRECTORY``; PORT
only tells servers apart.
"""

import asyncio
import os
import struct
import sys
import time
from pathlib import Path

import zmq
import zmq.asyncio
from orders import obey, say, until_closed

HEAD = struct.Struct(">IB")  # number of the call, kind
CALL, ITEM, END = 0, 1, 2
WAITING_MAX = 512  # messages on either side


def opened(kind: int) -> zmq.asyncio.Socket:
    made = zmq.asyncio.Context.instance().socket(kind)
    for option, value in ((zmq.LINGER, 0), (zmq.SNDHWM, WAITING_MAX), (zmq.RCVHWM, WAITING_MAX)):
        made.setsockopt(option, value)
    return made


def endpoint(port: int, at: Path) -> str:
    return f"ipc://{at}/zmq-{port}.sock"


async def serve(port: int, at: Path) -> None:
    router = opened(zmq.ROUTER)
    router.bind(endpoint(port, at))
    heard = 0

    async def answer() -> None:
        nonlocal heard
        while True:
            route, head, payload = await router.recv_multipart()
            kind = HEAD.unpack(head)[1]
            heard += kind == ITEM
            if kind != ITEM:
                await router.send_multipart([route, head, payload if kind == CALL else heard.to_bytes(8)])

    async with asyncio.TaskGroup() as tasks:
        answering = tasks.create_task(answer())
        say({"ready": True, "pid": os.getpid()})
        await until_closed()
        answering.cancel()


async def measured(port: int, at: Path) -> None:
    dealer = opened(zmq.DEALER)
    dealer.connect(endpoint(port, at))
    waiting: dict[int, asyncio.Future[bytes]] = {}
    asked = sent = 0

    async def hear() -> None:
        while True:
            head, payload = await dealer.recv_multipart()
            waiting.pop(HEAD.unpack(head)[0]).set_result(payload)

    async def ask(payload: bytes, kind: int) -> bytes:
        nonlocal asked
        asked += 1
        answer = waiting[asked] = asyncio.get_running_loop().create_future()
        await dealer.send_multipart([HEAD.pack(asked, kind), payload])
        return await answer

    async def call(payload: bytes) -> bytes:
        return await ask(payload, CALL)

    async def stream(payload: bytes, for_s: float) -> int:
        nonlocal sent
        until, count, head = time.perf_counter() + for_s, 0, HEAD.pack(0, ITEM)
        while time.perf_counter() < until:
            await dealer.send_multipart([head, payload])
            count += 1
        sent += count
        assert int.from_bytes(await ask(b"", END)) == sent
        return count

    async with asyncio.TaskGroup() as tasks:
        hearing = tasks.create_task(hear())
        await obey(call, stream)
        hearing.cancel()


if __name__ == "__main__":
    asyncio.run((serve if sys.argv[1] == "server" else measured)(int(sys.argv[2]), Path(sys.argv[3])))
