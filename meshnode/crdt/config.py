"""Limits and rhythm of the documents room."""

from dataclasses import dataclass

from meshnode.crdt.kinds import Kind
from meshnode.crdt.rates import Rates
from meshnode.kernel.instant import SECOND


@dataclass(frozen=True, kw_only=True, slots=True)
class DocumentsConfig:
    """Limits and rhythm. Rates are envelopes a second, so that catching up after a long cut is not throttled."""

    repair_every_us: int = 5 * SECOND
    repair_jitter: float = 0.2
    retry_after_us: int = SECOND
    remind_after_us: int = SECOND // 8  # at least, and up to three times as much: to others it was left to bring it
    keep_again_after_us: int = 10 * SECOND
    lazy_us: int = 10 * SECOND  # how long the journal may take for what was written lazily
    held_max: int = 4096
    held_bytes_max: int = 32 * 1024 * 1024
    held_per_author_max: int = 1000
    held_bytes_per_author_max: int = 8 * 1024 * 1024
    rate_per_s: int = 5_000
    rate_burst: int = 20_000
    rated_nodes_max: int = 4096
    generation_changes: int = 256
    generation_bytes: int = 32 * 1024
    freeze_every_us: int = SECOND // 5  # how often neighbours hear who holds what is to be frozen
    rest_every_us: int = 10 * SECOND  # twice as long a document is kept as it was used
    kinds: tuple[Kind, ...] = ()  # what this release knows of the fields of each
    acks_max: int = 64  # live members whose acknowledgement is waited for; in larger meshes only neighbours'

    def __post_init__(self) -> None:
        rhythm = (
            self.repair_every_us, self.retry_after_us, self.remind_after_us, self.keep_again_after_us, self.lazy_us,
        )  # fmt: skip
        limits = (
            self.held_max, self.held_bytes_max, self.held_per_author_max, self.held_bytes_per_author_max,
            self.rate_per_s, self.rate_burst, self.rated_nodes_max, self.generation_changes,
            self.generation_bytes, self.freeze_every_us, self.acks_max,
        )  # fmt: skip
        if min(*rhythm, *limits) < 1 or not 0.0 <= self.repair_jitter < 1.0:
            raise ValueError(f"documents config out of range: {self}")

    def rates(self) -> Rates:
        """What every node, or every author, has to spend."""
        return Rates(per_s=self.rate_per_s, burst=self.rate_burst, nodes_max=self.rated_nodes_max)
