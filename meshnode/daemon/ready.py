"""Tells the command line, once, how the start ended."""

import contextlib
import json
import os
import sys

from meshnode.model.errors import LocalError


class Ready:
    """The writing end of the readiness pipe; without one (``--foreground``) it prints for a person.

    ``served``: whoever waited was told that the node is ready, and what it made.
    """

    def __init__(self, fd: int | None) -> None:
        self._fd = fd
        self.served = False

    def succeeded(self, made: dict[str, str] | None, recovery_words: str | None, listen: str) -> None:
        self.served = True
        if self._fd is None:
            self._print(made, recovery_words, listen)
        self._tell({"ok": True, "made": made, "recovery_words": recovery_words, "listen": listen})

    def failed(self, error: LocalError) -> None:
        if self._fd is None:
            next_step = f"\n -> {error.next_step}" if error.next_step else ""
            print(f"error: {error.message}{next_step}", file=sys.stderr, flush=True)  # noqa: T201
        self._tell(
            {
                "ok": False,
                "error": {
                    "code": error.code, "message": error.message, "next_step": error.next_step,
                    "exit_code": error.exit_code,
                },
            }
        )  # fmt: skip

    def _tell(self, line: dict[str, object]) -> None:
        if self._fd is None:
            return
        fd, self._fd = self._fd, None
        # An error: whoever started us has gone, or gave no open descriptor. The daemon serves all the same.
        with contextlib.suppress(OSError):
            os.write(fd, json.dumps(line).encode() + b"\n")
        with contextlib.suppress(OSError):
            os.close(fd)

    def _print(self, made: dict[str, str] | None, recovery_words: str | None, listen: str) -> None:
        if made:
            print(f"made mesh {made['mesh']}, this node is {made['name']}", flush=True)  # noqa: T201
        if recovery_words:
            print(f"recovery words (shown once, keep them offline): {recovery_words}", flush=True)  # noqa: T201
        where = f"listening on {listen}" if listen else "reached through relays only"
        print(f"ready, {where}", flush=True)  # noqa: T201
