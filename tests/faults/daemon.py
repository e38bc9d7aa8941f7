"""A real daemon with one planted fault: ``python -m tests.faults.daemon FAULT --dir DIR ...``."""

import os
import sys

from meshnode.daemon.main import run
from tests.faults.planted import adapt

if __name__ == "__main__":
    status = run(sys.argv[2:], adapt(sys.argv[1]))
    sys.stdout.flush()
    os._exit(status)
