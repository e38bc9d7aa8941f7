"""How long to wait before the next try: exponential growth, full cap, decorrelated jitter."""

from dataclasses import dataclass

from meshnode.kernel.rng import Random


@dataclass(frozen=True, kw_only=True, slots=True)
class Backoff:
    """Waiting times in microseconds."""

    first_us: int
    cap_us: int
    growth: float = 2.0
    jitter: float = 0.5  # the wait is drawn from [(1 - jitter) * ideal, ideal]

    def __post_init__(self) -> None:
        if not 0 < self.first_us <= self.cap_us or self.growth < 1.0 or not 0.0 <= self.jitter <= 1.0:
            raise ValueError(f"backoff out of range: {self}")

    def wait_us(self, attempt: int, rng: Random) -> int:
        """The wait before try number ``attempt`` (1 = the first repeat)."""
        ideal = min(self.cap_us, self.first_us * self.growth ** min(attempt - 1, 64))
        return round(ideal * (1.0 - self.jitter * rng.random()))
