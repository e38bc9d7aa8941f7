"""A real daemon that cuts all links, and forgets their sessions, when it has a new certificate: a planted fault."""

import os
import sys

from meshnode.daemon.main import run
from meshnode.kernel.instant import Instant
from meshnode.kernel.reasons import Bye, Loss
from meshnode.links.hub import Hub


def cutting(hub: Hub) -> None:
    """In the place of ``Hub.renewed``."""
    for peer, link in list(hub._roster.up.items()):
        hub._roster.drop(link, Bye.IDLE, Loss.CLOSED, Instant(link.heard_us, 0))
        hub._roster.end_session(hub._roster[peer])


if __name__ == "__main__":
    Hub.renewed = cutting  # type: ignore[method-assign]
    status = run(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)
