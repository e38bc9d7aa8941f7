"""What this machine is, and how busy it is: probed in a thread, told to the core only when there is news."""

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from hw.load import LoadSampler, Smoother
from hw.report import probe
from meshnode.node.inputs import HardwareProbed, LoadSampled

log = logging.getLogger(__name__)

SAMPLE_EVERY_S = 2.0
# Disks fill, cards are plugged in: the slow facts are looked at again this often, and told when they changed.
PROBE_EVERY_S = 3600.0
FACTS_BYTES_MAX = 4096


class Hardware:
    """``root`` stands for "/": a recorded tree of another machine in tests."""

    def __init__(self, tell: Callable[[HardwareProbed | LoadSampled], None], root: Path = Path("/")) -> None:
        self._tell, self._root = tell, root
        self._facts = b""

    async def watch(self) -> None:
        """Probe, then sample until cancelled."""
        loop = asyncio.get_running_loop()
        sampler, smoother = LoadSampler(self._root), Smoother()
        probe_due = loop.time()
        while True:
            if loop.time() >= probe_due:
                await self._probe()
                probe_due = loop.time() + PROBE_EVERY_S
            vector = smoother.step(sampler.sample())
            if vector is not None:
                self._tell(LoadSampled(vector.pack()))
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def _probe(self) -> None:
        report = await asyncio.to_thread(probe, self._root)
        facts = report.to_json(FACTS_BYTES_MAX)
        for warning in report.warnings:
            log.info("hardware probe", extra={"warning": warning})
        if facts != self._facts:
            self._facts = facts
            self._tell(HardwareProbed(facts))
