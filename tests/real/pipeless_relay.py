"""A real daemon to whose port connections come that it does not join: as behind a box that lets only TLS pass."""

import os
import socket
import sys

from meshnode.daemon.main import run
from meshnode.daemon.wiring import AS_BUILT
from meshnode.host.pipes import PipeHand


class Boxed(PipeHand):
    """Whoever comes is hung up on."""

    async def receive(self, accepted: socket.socket) -> None:
        accepted.close()


if __name__ == "__main__":
    PipeHand.receive = Boxed.receive
    status = run(sys.argv[1:], AS_BUILT)
    sys.stdout.flush()
    os._exit(status)
