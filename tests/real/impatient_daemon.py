"""A real daemon whose agents wait half a second for the next one, instead of twenty, before they end."""

import functools
import os
import sys

from meshnode.daemon import wiring
from meshnode.daemon.main import run
from meshnode.host.supervisor import Supervisor

if __name__ == "__main__":
    wiring.Supervisor = functools.partial(Supervisor, orphan_s=0.5)  # type: ignore[misc,assignment]
    status = run(sys.argv[1:])
    sys.stdout.flush()
    os._exit(status)
