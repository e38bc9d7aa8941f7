"""How busy this machine is, measured cheaply enough to ask every two seconds.

Fast figures (processor, memory, load average, network, accelerator) come from kept descriptors at each sample; slow
ones (disk, temperature, battery, throttling) are looked at again every ``SLOW_EVERY_S``. A rate needs two samples: it
is not known at the first.
"""

import time
from collections.abc import Callable
from pathlib import Path

from hw.accelerators import AcceleratorGauge
from hw.cgroup import groups_of
from hw.cpu import logical_cpus
from hw.gauges import CpuGauge, LoadAverage, MemoryGauge, NetworkGauge
from hw.nvml import Nvml
from hw.root import Root
from hw.slow import SlowGauge
from hw.smoother import Bands, LoadSample, Smoother
from hw.vector import VECTOR_BYTES, LoadVector

__all__ = ["VECTOR_BYTES", "Bands", "LoadSample", "LoadSampler", "LoadVector", "Smoother"]

SLOW_EVERY_S = 10.0


class LoadSampler:
    """Samples below ``root``; ``clock_s`` is monotonic. The limits of a container are read once, at the start."""

    def __init__(self, root: Path, clock_s: Callable[[], float] = time.monotonic, nvml: Nvml | None = None) -> None:
        here = Root(root)
        groups = groups_of(here)
        self._clock_s = clock_s
        self._cpu = CpuGauge(here, groups, logical_cpus(here))
        self._memory = MemoryGauge(here, groups)
        self._network = NetworkGauge(here)
        self._average = LoadAverage(here)
        self._accelerators = AcceleratorGauge(here, nvml)
        self._slow = SlowGauge(here)
        self._slow_at_s: float | None = None

    def sample(self) -> LoadSample:
        """Takes far less than a millisecond of processor time; never waits for a device."""
        at_s = self._clock_s()
        if self._slow_at_s is None or at_s - self._slow_at_s >= SLOW_EVERY_S:
            self._slow.look()
            self._slow_at_s = at_s
        memory = self._memory.percent()
        received, sent = self._network.rates(at_s)
        cards = self._accelerators.use(at_s)
        heats = [heat for heat in (self._slow.celsius, cards.celsius) if heat is not None]
        load = LoadVector(
            cpu_percent=self._cpu.percent(at_s),
            memory_percent=memory,
            disk_percent=self._slow.disk_percent,
            accelerator_percent=cards.percent,
            accelerator_memory_percent=cards.memory_percent,
            load_average=self._average.value(),
            hottest_celsius=max(heats, default=None),
            received_kib_s=received,
            sent_kib_s=sent,
            memory_pressure=self._memory.pressure(memory),
            throttled=self._slow.throttled or cards.throttled,
            on_battery=self._slow.on_battery,
        )
        return LoadSample(at_s=at_s, cpus=self._cpu.usable or 1.0, load=load)
