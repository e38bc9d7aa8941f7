"""The pipes of agents, read into their logs. Every ready pipe is read once a turn, so a flood does not delay others;
one that is over its budget is read only now and then, which slows the flooder instead of this machine.
"""

import os
import selectors
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

from meshnode.host.agentlog import ERR, OUT, AgentLog, Tail
from meshnode.kernel.instant import MS, Instant

_READ_BYTES = 64 * 1024
_PAUSE_US = 20 * MS
# After the end of a run at most this much of what its pipes still hold is read.
_DRAIN_READS_MAX = 16


@dataclass(eq=False, slots=True)
class Output:
    """What one run writes. ``pipes``: reading ends that are open."""

    log: AgentLog
    pipes: dict[int, str] = field(default_factory=dict[int, str])
    tails: dict[str, Tail] = field(default_factory=lambda: {OUT: Tail(), ERR: Tail()})

    def tail(self) -> str:
        """Why it ended, in its own words: standard error, or standard output if nothing was said there."""
        said = self.tails[ERR].text()
        return said if said.strip() else self.tails[OUT].text()


class Outputs:
    """All pipes of a warden."""

    def __init__(self, selector: selectors.BaseSelector, now: Callable[[], Instant]) -> None:
        self._selector, self._now = selector, now
        # (when to go on, whose pipe): all pauses are equally long, so the first in is the first out.
        self._paused: deque[tuple[int, Output, int]] = deque()

    def add(self, output: Output, fd: int, stream: str) -> None:
        os.set_blocking(fd, False)
        output.pipes[fd] = stream
        self._watch(output, fd)

    def close(self, output: Output) -> None:
        """The run is over. What its pipes hold is read; who still has the other end writes to nobody."""
        for fd in list(output.pipes):
            for _ in range(_DRAIN_READS_MAX):
                if self._read(output, fd) is None:
                    break
            self._close(output, fd)
        output.log.close(self._now())

    def deadline(self) -> int | None:
        return self._paused[0][0] if self._paused else None

    def wake(self, now: Instant) -> None:
        while self._paused and self._paused[0][0] <= now.mono_us:
            _, output, fd = self._paused.popleft()
            if fd in output.pipes:
                self._watch(output, fd)

    def _watch(self, output: Output, fd: int) -> None:
        self._selector.register(fd, selectors.EVENT_READ, lambda: self._readable(output, fd))

    def _readable(self, output: Output, fd: int) -> None:
        if self._read(output, fd) is False:
            self._selector.unregister(fd)
            self._paused.append((self._now().mono_us + _PAUSE_US, output, fd))

    def _read(self, output: Output, fd: int) -> bool | None:
        """Read once. None: there is nothing more now, or ever; False: what was read is over the budget."""
        if fd not in output.pipes:
            return None
        try:
            data = os.read(fd, _READ_BYTES)
        except BlockingIOError:
            return None
        if not data:
            self._close(output, fd)
            return None
        stream = output.pipes[fd]
        output.tails[stream].add(data)
        return output.log.write(stream, data, self._now())

    def _close(self, output: Output, fd: int) -> None:
        if output.pipes.pop(fd, None) is not None:
            if fd in self._selector.get_map():
                self._selector.unregister(fd)
            os.close(fd)
