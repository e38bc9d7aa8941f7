"""NATS over mutual TLS: ``server PORT DIRECTORY`` starts the broker and echoes through it, ``client`` is measured."""

import asyncio
import os
import ssl
import subprocess
import sys
import time
from pathlib import Path

import nats
import nats.errors
from nats.aio.msg import Msg
from orders import obey, say, until_closed

FLUSH_BYTES = 4 * 1024 * 1024
TRIES_MAX, AGAIN_S = 100, 0.05
CONFIG = """host: 127.0.0.1
port: {port}
max_payload: 8388608
max_pending: 268435456
tls {{
  cert_file: "{at}/server.pem"
  key_file: "{at}/server.key"
  ca_file: "{at}/root.pem"
  verify: true
}}
"""


def context(side: str, at: Path) -> ssl.SSLContext:
    made = ssl.create_default_context(cafile=str(at / "root.pem"))
    made.load_cert_chain(at / f"{side}.pem", at / f"{side}.key")
    return made


async def _heedless(_: Exception) -> None:
    """The library prints what it is not asked to keep quiet about."""


async def connected(side: str, port: int, at: Path) -> nats.NATS:
    for _ in range(TRIES_MAX):
        try:
            return await nats.connect(
                f"tls://localhost:{port}", tls=context(side, at), pending_size=64 << 20, ping_interval=600,
                allow_reconnect=False, max_reconnect_attempts=1, error_cb=_heedless,
            )  # fmt: skip
        except (OSError, nats.errors.Error):  # the broker starts
            await asyncio.sleep(AGAIN_S)
    sys.exit("the broker did not come up")


async def serve(port: int, at: Path) -> None:
    config = at / f"nats-{port}.conf"
    config.write_text(CONFIG.format(port=port, at=at))
    broker = subprocess.Popen(  # noqa: ASYNC220 - before anything is measured
        ["nats-server", "-c", str(config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        client = await connected("server", port, at)
        heard = 0

        async def echo(message: Msg) -> None:
            await client.publish(message.reply, message.data)

        async def hear(_: Msg) -> None:
            nonlocal heard
            heard += 1

        async def end(message: Msg) -> None:
            await message.respond(heard.to_bytes(8))

        await client.subscribe("echo", cb=echo, pending_bytes_limit=1 << 30)
        await client.subscribe("one-way", cb=hear, pending_msgs_limit=10**7, pending_bytes_limit=1 << 31)
        await client.subscribe("end", cb=end)
        await client.flush()
        say({"ready": True, "pid": os.getpid(), "broker": broker.pid})
        await until_closed()
    finally:
        broker.terminate()
        broker.wait()


async def measured(port: int, at: Path) -> None:
    client = await connected("client", port, at)
    sent = 0

    async def call(payload: bytes) -> bytes:
        return (await client.request("echo", payload, timeout=20)).data

    async def stream(payload: bytes, for_s: float) -> int:
        nonlocal sent
        until, count, often = time.perf_counter() + for_s, 0, max(1, FLUSH_BYTES // len(payload))
        while time.perf_counter() < until:
            await client.publish("one-way", payload)
            count += 1
            if not count % often:
                await client.flush(20)
        sent += count
        await client.flush(20)
        heard = 0
        while heard < sent:
            heard = int.from_bytes((await client.request("end", b"", timeout=20)).data)
        return count

    await obey(call, stream)


if __name__ == "__main__":
    asyncio.run((serve if sys.argv[1] == "server" else measured)(int(sys.argv[2]), Path(sys.argv[3])))
