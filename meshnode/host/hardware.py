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
        self._told: dict[str, None] = {}

    async def watch(self) -> None:
        """Probe, then sample until cancelled. Drivers and files of a machine may fail in any way; the node goes on."""
        loop = asyncio.get_running_loop()
        sampler, smoother = LoadSampler(self._root), Smoother()
        probe_due = loop.time()
        while True:
            if loop.time() >= probe_due:
                await self._probe()
                probe_due = loop.time() + PROBE_EVERY_S
            self._sample(sampler, smoother)
            await asyncio.sleep(SAMPLE_EVERY_S)

    async def _probe(self) -> None:
        try:
            report = await asyncio.to_thread(probe, self._root)
            facts = report.to_json(FACTS_BYTES_MAX)
        except Exception as error:  # noqa: BLE001 - what a driver or a sensor raises is not ours to know
            self._failed("hardware probe", error)
            return
        for warning in report.warnings:
            log.info("hardware probe", extra={"warning": warning})
        if facts != self._facts:
            self._facts = facts
            self._tell(HardwareProbed(facts))

    def _sample(self, sampler: LoadSampler, smoother: Smoother) -> None:
        try:
            vector = smoother.step(sampler.sample())
        except Exception as error:  # noqa: BLE001 - what a driver or a sensor raises is not ours to know
            self._failed("load sample", error)
            return
        if vector is not None:
            self._tell(LoadSampled(vector.pack()))

    def _failed(self, what: str, error: Exception) -> None:
        """Once for each kind: what fails every two seconds must not fill the log."""
        failure = f"{what}: {type(error).__name__}"
        if failure not in self._told:
            self._told[failure] = None
            log.error("this machine cannot be asked", extra={"what": what}, exc_info=error)
