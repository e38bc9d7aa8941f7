"""Run a command on a terminal, as ``python terminal.py COMMAND ...``, until Ctrl-C."""

import pty
import sys

if __name__ == "__main__":
    try:
        pty.spawn(sys.argv[1:])
    except KeyboardInterrupt:
        sys.exit(130)
