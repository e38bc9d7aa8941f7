"""How often a unit may end before it is left alone: restart intensity in the manner of Erlang's supervisors."""

from collections import deque
from dataclasses import dataclass, field

from meshnode.agents.config import AgentsConfig
from meshnode.kernel.rng import Random


@dataclass(slots=True)
class Crashes:
    """The ends of one unit that nobody asked for. Holds at most ``intensity_max`` + 1 of them."""

    in_a_row: int = 0
    _ends: deque[int] = field(default_factory=deque[int])

    def clear(self) -> None:
        self.in_a_row = 0
        self._ends.clear()

    def add(self, config: AgentsConfig, began_us: int, now_us: int) -> bool:
        """Count an end. True: that was one too many."""
        if now_us - began_us >= config.healthy_us:
            self.clear()
        self.in_a_row += 1
        self._ends.append(now_us)
        while self._ends[0] <= now_us - config.intensity_window_us:
            self._ends.popleft()
        return len(self._ends) > config.intensity_max

    def wait_us(self, config: AgentsConfig, rng: Random) -> int:
        """How long to wait before the next run."""
        over = self.in_a_row - config.quick_restarts
        return config.slow.wait_us(over, rng) if over > 0 else config.quick.wait_us(self.in_a_row, rng)
