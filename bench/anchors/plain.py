"""A plain subprocess that echoes through pipes: what isolation costs without a mesh around it."""

import os
import subprocess
import sys
import time

NAME = "a plain subprocess (python -c with pipes)"
PAYLOAD = b"x" * 128
ECHO = "import os\nwhile data := os.read(0, 65536):\n    os.write(1, data)"


class Plain:
    """One such process, which has answered once."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-c", ECHO], stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0
        )
        self.call()

    @property
    def pid(self) -> int:
        return self._process.pid

    def call(self) -> None:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        os.write(self._process.stdin.fileno(), PAYLOAD)
        os.read(self._process.stdout.fileno(), len(PAYLOAD))

    def sequence(self, samples: int) -> list[float]:
        """Microseconds of each call."""
        took: list[float] = []
        for _ in range(samples):
            began = time.perf_counter()
            self.call()
            took.append((time.perf_counter() - began) * 1e6)
        return took

    def close(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait()
