"""The selector of an agent's event loop: asks the kernel less often.

asyncio asks which sockets are ready before every round, even when callbacks wait: three times for each call that an
agent answers. Here rounds that have something to do go ahead of that question, a few of them in a row at most.
"""

import selectors

# Sockets wait for so many rounds of the loop.
ROUNDS_MAX = 3


class Selector(selectors.EpollSelector):
    """Made for ``asyncio.SelectorEventLoop``."""

    def __init__(self) -> None:
        super().__init__()
        self._rounds = 0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout == 0 and self._rounds < ROUNDS_MAX:
            self._rounds += 1
            return []
        self._rounds = 0
        return super().select(timeout)
