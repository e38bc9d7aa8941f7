"""When a load is news: an exponential mean per metric, and a dead band around what was told last.

Bands are absolute points, not shares of the value: near zero every value is "50 % more" than the one before. Of the
processor, of memory and of the way to 100 C a quarter of what is free is news, those points at least: between 10 % busy
and 25 there is the same room for everybody, between 80 and 90 half of it is gone. Only the network, which spans six
decades, and the load average, which on an overloaded machine is never at rest, need both a floor and a factor. A load
average is a mean of a minute, and says what the processor has said before: it is waited for.

Flags are news at once, and so is whatever rises. What only falls waits: a mean that comes down from a peak leaves its
band again and again on the way, on all machines at once that were busy for the same reason, and where it comes to rest
is all anybody needs. A machine that was busy and is idle again is known to be so after ``fall_s``; one whose load goes
up and down tells its falls every ``falls_s``, and is thought busier meanwhile. So there is less to say of what rises,
too: that is what is above what others know.
"""

import math
from dataclasses import dataclass, field

from hw.vector import LoadVector

# A sensor that fails now and then keeps its last value this many samples; then it is not known.
MISSES_MAX = 5
AT_ONCE = 2  # falls that need not keep ``falls_s``: those of one machine that was busy for a while


@dataclass(frozen=True, kw_only=True, slots=True)
class LoadSample:
    """One measurement as it was. ``at_s`` is monotonic; ``cpus`` is what may be used of the processors."""

    at_s: float
    load: LoadVector
    cpus: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Bands:
    """How far the mean must move from what was told before it is told again."""

    mean_over_s: float = 5.0
    free_part: float = 0.25  # of the processor, of memory, of the way to 100 C
    cpu_points: float = 10.0
    memory_points: float = 3.0
    disk_points: float = 2.0
    accelerator_points: float = 10.0
    accelerator_memory_points: float = 3.0
    celsius: float = 5.0
    load_per_cpu: float = 0.25
    load_min: float = 0.5
    load_factor: float = 1.5
    load_s: float = 120.0  # after whatever was told
    fall_s: float = 15.0  # the same
    falls_s: float = 120.0  # from fall to fall, where there are many
    network_kib_s: float = 256.0
    network_factor: float = 2.0

    def __post_init__(self) -> None:
        if self.mean_over_s <= 0 or min(self.network_factor, self.load_factor) <= 1:
            raise ValueError("mean_over_s must be above 0, network_factor and load_factor above 1")


@dataclass
class _Mean:
    """One metric: its mean, and the value told last."""

    now: float | None = None
    told: float | None = None
    misses: int = 0

    def take(self, value: float | None, share: float) -> None:
        if value is None:
            self.misses += 1
            if self.misses > MISSES_MAX:
                self.now = None
            return
        self.misses = 0
        self.now = value if self.now is None else self.now + share * (value - self.now)

    @property
    def falls(self) -> bool:
        return self.now is not None and self.told is not None and self.now < self.told

    def moved(self, band: float) -> bool:
        if self.now is None or self.told is None:
            return self.now is not self.told
        return abs(self.now - self.told) >= band

    def outgrew(self, band: float, factor: float) -> bool:
        """For rates: by the band at least, and by the factor, up or down."""
        if self.now is None or self.told is None:
            return self.now is not self.told
        low, high = sorted((self.now, self.told))
        return high - low >= band and high >= low * factor


@dataclass
class _Means:
    cpu: _Mean = field(default_factory=_Mean)
    memory: _Mean = field(default_factory=_Mean)
    disk: _Mean = field(default_factory=_Mean)
    accelerator: _Mean = field(default_factory=_Mean)
    accelerator_memory: _Mean = field(default_factory=_Mean)
    load: _Mean = field(default_factory=_Mean)
    celsius: _Mean = field(default_factory=_Mean)
    received: _Mean = field(default_factory=_Mean)
    sent: _Mean = field(default_factory=_Mean)

    def all(self) -> tuple[_Mean, ...]:
        return (
            self.cpu, self.memory, self.disk, self.accelerator, self.accelerator_memory,
            self.load, self.celsius, self.received, self.sent,
        )  # fmt: skip


class Smoother:
    """Feed it every sample; it answers with a vector when there is something to tell."""

    def __init__(self, bands: Bands | None = None) -> None:
        self._bands = bands or Bands()
        self._means = _Means()
        self._at_s: float | None = None
        self._flags_told = -1
        self._told_s = self._paid_s = -math.inf  # each fall costs ``falls_s`` (GCRA, ITU-T I.371); so much is paid

    def step(self, sample: LoadSample) -> LoadVector | None:
        """The mean so far at the first sample, when a metric left its band and when a flag changed; else ``None``."""
        self._take(sample)
        same, moved = sample.load.flags() == self._flags_told, self._moved(sample.cpus)
        if same and not moved:
            return None
        if same and all(mean.falls for mean in moved):
            self._paid_s = max(self._paid_s, sample.at_s) + self._bands.falls_s
        self._flags_told, self._told_s = sample.load.flags(), sample.at_s
        for mean in self._means.all():
            mean.told = mean.now
        return self._vector(sample)

    def _take(self, sample: LoadSample) -> None:
        elapsed_s = 0.0 if self._at_s is None else max(0.0, sample.at_s - self._at_s)
        share = 1.0 - math.exp(-elapsed_s / self._bands.mean_over_s)
        self._at_s = sample.at_s
        means = self._means
        means.cpu.take(sample.load.cpu_percent, share)
        means.memory.take(sample.load.memory_percent, share)
        means.disk.take(sample.load.disk_percent, share)
        means.accelerator.take(sample.load.accelerator_percent, share)
        means.accelerator_memory.take(sample.load.accelerator_memory_percent, share)
        means.load.take(sample.load.load_average, share)
        means.celsius.take(sample.load.hottest_celsius, share)
        means.received.take(sample.load.received_kib_s, share)
        means.sent.take(sample.load.sent_kib_s, share)

    def _moved(self, cpus: float) -> list[_Mean]:
        """Those that left their bands, without such as fall too soon."""
        means, bands = self._means, self._bands
        load_band = max(bands.load_min, bands.load_per_cpu * cpus)
        looked = (
            (means.cpu, means.cpu.moved(self._of_free(means.cpu, bands.cpu_points))),
            (means.memory, means.memory.moved(self._of_free(means.memory, bands.memory_points))),
            (means.disk, means.disk.moved(bands.disk_points)),
            (means.accelerator, means.accelerator.moved(bands.accelerator_points)),
            (means.accelerator_memory, means.accelerator_memory.moved(bands.accelerator_memory_points)),
            (means.load, self._since_s() >= bands.load_s and means.load.outgrew(load_band, bands.load_factor)),
            (means.celsius, means.celsius.moved(self._of_free(means.celsius, bands.celsius))),
            (means.received, means.received.outgrew(bands.network_kib_s, bands.network_factor)),
            (means.sent, means.sent.outgrew(bands.network_kib_s, bands.network_factor)),
        )
        may_fall = self._may_fall()
        return [mean for mean, moved in looked if moved and (may_fall or not mean.falls)]

    def _of_free(self, mean: _Mean, points: float) -> float:
        """A part of what was free when less of it was."""
        return max(points, self._bands.free_part * (100.0 - max(mean.now or 0.0, mean.told or 0.0)))

    def _since_s(self) -> float:
        """How long ago anything was told."""
        return math.inf if self._at_s is None else self._at_s - self._told_s

    def _may_fall(self) -> bool:
        bands = self._bands
        paid = self._at_s is None or self._at_s >= self._paid_s - (AT_ONCE - 1) * bands.falls_s
        return paid and self._since_s() >= bands.fall_s

    def _vector(self, sample: LoadSample) -> LoadVector:
        means = self._means
        return LoadVector(
            cpu_percent=means.cpu.now,
            memory_percent=means.memory.now,
            disk_percent=means.disk.now,
            accelerator_percent=means.accelerator.now,
            accelerator_memory_percent=means.accelerator_memory.now,
            load_average=means.load.now,
            hottest_celsius=means.celsius.now,
            received_kib_s=means.received.now,
            sent_kib_s=means.sent.now,
            memory_pressure=sample.load.memory_pressure,
            throttled=sample.load.throttled,
            on_battery=sample.load.on_battery,
        )
