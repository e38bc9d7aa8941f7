"""Becomes an agent: ``python -I -S launch.py DAEMON_PID PROGRAM [ARGUMENT...]``.

Runs between the fork and the agent's program, as a program of its own, because code between fork and exec is unsafe in
a process with threads. It takes its rights away, ties its life to the daemon's, and executes the program.
"""

import ctypes
import os
import resource
import signal
import sys

PR_SET_PDEATHSIG = 1
PR_SET_NO_NEW_PRIVS = 38
CANNOT_RUN = 126
NOT_FOUND = 127


def main() -> None:
    daemon_pid, program = int(sys.argv[1]), sys.argv[2:]
    _restrict(ctypes.CDLL(None, use_errno=True))
    if os.getppid() != daemon_pid:
        os._exit(CANNOT_RUN)  # the daemon died before we could tie ourselves to it
    try:
        os.execvp(program[0], program)  # noqa: S606 - running what the node's owner asked for is the purpose
    except OSError as error:
        os.write(2, f"meshnode: cannot run {program[0]}: {error.strerror}\n".encode())
        os._exit(NOT_FOUND if isinstance(error, FileNotFoundError) else CANNOT_RUN)


def _restrict(libc: ctypes.CDLL) -> None:
    for option, value in ((PR_SET_PDEATHSIG, signal.SIGKILL), (PR_SET_NO_NEW_PRIVS, 1)):
        if libc.prctl(option, int(value), 0, 0, 0) != 0:
            os.write(2, f"meshnode: prctl {option}: {os.strerror(ctypes.get_errno())}\n".encode())
            os._exit(CANNOT_RUN)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    # An ignored signal stays ignored across exec, and Python ignores these two.
    for name in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(name, signal.SIG_DFL)


if __name__ == "__main__":
    main()
