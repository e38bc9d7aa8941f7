"""grpc.aio over mutual TLS, bytes in and out without a codec: ``server PORT DIRECTORY`` and ``client``."""

import asyncio
import os
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path

import grpc
from orders import obey, say, until_closed

OPTIONS = [("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1)]


def files(side: str, at: Path) -> tuple[bytes, bytes, bytes]:
    return (at / "root.pem").read_bytes(), (at / f"{side}.key").read_bytes(), (at / f"{side}.pem").read_bytes()


async def serve(port: int, at: Path) -> None:
    async def echo(asked: bytes, _: grpc.aio.ServicerContext) -> bytes:
        return asked

    async def hear(items: AsyncIterator[bytes], _: grpc.aio.ServicerContext) -> bytes:
        count = 0
        async for _item in items:
            count += 1
        return count.to_bytes(8)

    root, key, leaf = files("server", at)
    server = grpc.aio.server(options=OPTIONS)
    methods = {
        "echo": grpc.unary_unary_rpc_method_handler(echo),
        "hear": grpc.stream_unary_rpc_method_handler(hear),
    }
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("bench", methods),))
    server.add_secure_port(f"localhost:{port}", grpc.ssl_server_credentials([(key, leaf)], root, True))
    await server.start()
    say({"ready": True, "pid": os.getpid()})
    await until_closed()
    await server.stop(None)


async def measured(port: int, at: Path) -> None:
    root, key, leaf = files("client", at)
    credentials = grpc.ssl_channel_credentials(root, key, leaf)
    async with grpc.aio.secure_channel(f"localhost:{port}", credentials, options=OPTIONS) as channel:
        await channel.channel_ready()
        echo, hear = channel.unary_unary("/bench/echo"), channel.stream_unary("/bench/hear")

        async def call(payload: bytes) -> bytes:
            return await echo(payload)

        async def stream(payload: bytes, for_s: float) -> int:
            until, count, sending = time.perf_counter() + for_s, 0, hear()
            while time.perf_counter() < until:
                await sending.write(payload)
                count += 1
            await sending.done_writing()
            assert int.from_bytes(await sending) == count
            return count

        await obey(call, stream)


if __name__ == "__main__":
    asyncio.run((serve if sys.argv[1] == "server" else measured)(int(sys.argv[2]), Path(sys.argv[3])))
