"""A NATS micro service that echoes: ``nats_service.py URL``. Says "ready" when it can be called."""

import asyncio
import sys

import nats
import nats.micro


async def main(url: str) -> None:
    connection = await nats.connect(url)
    service = await nats.micro.add_service(connection, name="echo", version="1.0.0")

    async def echo(request: nats.micro.Request) -> None:
        await request.respond(request.data)

    await service.add_endpoint(name="echo", subject="svc.echo", handler=echo)
    await connection.flush()
    print("ready", flush=True)
    await asyncio.Event().wait()


asyncio.run(main(sys.argv[1]))
