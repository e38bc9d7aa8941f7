"""The warden: keeps the agents of one node alive while its daemon is restarted, and not a moment longer than that.

``python -I -u -X utf8 -m meshnode.host.warden RUN_DIR LOGS_DIR LISTENER_FD ORPHAN_MS``, started by a Supervisor with a
listening socket. It has loaded what agents need, so that a fork of it is an agent within milliseconds. It must stay a
process of one thread, without a live event loop, ZeroMQ context or CUDA: a fork of those is broken.
"""

import asyncio
import gc
import resource
import selectors
import socket
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from meshnode import sdk
from meshnode.host.launch import PR_SET_CHILD_SUBREAPER, prctl
from meshnode.host.pools import fill_pools
from meshnode.host.wardenloop import WardenLoop, now
from meshnode.host.wardenrun import Runs
from meshnode.host.wardenwire import WARDEN_SOCKET, FromWarden
from meshnode.kernel.instant import MS

_WARM_LOOPS = 20
REHEARSAL_SOCKET = "rehearsal"


def main() -> None:
    run_directory, logs, listener_fd, orphan_ms = sys.argv[1:]
    listener = socket.socket(fileno=int(listener_fd))
    listener.listen()  # again: who connects from now on is told this process as the other end
    files_max = _raise_file_limit()
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    _preload(Path(run_directory) / REHEARSAL_SOCKET)
    path = Path(run_directory) / WARDEN_SOCKET

    def make_runs(tell: Callable[[FromWarden], None], selector: selectors.BaseSelector) -> Runs:
        return Runs(tell, now, selector, run_directory=run_directory, logs=Path(logs), files_max=files_max)

    loop = WardenLoop(listener, path, make_runs, orphan_us=int(orphan_ms) * MS)
    assert threading.active_count() == 1, "something loaded here started a thread: forks of it would be broken"
    # What lies here now is never looked at by a collection again, so forks go on sharing it.
    gc.collect()
    fillers = fill_pools()
    gc.freeze()
    loop.run()
    fillers.clear()


def _raise_file_limit() -> int:
    """Two pipes and a log for every agent. Returns the limit that was, for the agents."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return soft


def _preload(rehearsal: Path) -> None:
    sdk.preload(str(rehearsal))
    # The interpreter rewrites code that runs often. Done here, it is shared; done by every agent, it is 0.3 MiB each.
    for _ in range(_WARM_LOOPS):
        asyncio.run(_a_moment())


async def _a_moment() -> None:
    await asyncio.sleep(0)
    await asyncio.sleep(1e-6)


if __name__ == "__main__":
    main()
