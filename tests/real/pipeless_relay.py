"""A real daemon to whose port connections come that it does not join: as behind a box that lets only TLS pass."""

import os
import socket
import sys

from meshnode.daemon.main import run
from meshnode.host.pipes import PipeHand


async def hang_up(_: PipeHand, accepted: socket.socket) -> None:
    accepted.close()


if __name__ == "__main__":
    PipeHand.receive = hang_up
    status = run(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)
