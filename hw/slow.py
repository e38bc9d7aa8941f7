"""The slow gauges: disk, temperature, battery, throttling. Looked at every few seconds, shown until the next look."""

import os

from hw.root import Root


class SlowGauge:
    """``None`` and ``False`` until the first look."""

    def __init__(self, root: Root) -> None:
        self._root = root
        self.disk_percent: float | None = None
        self.celsius: float | None = None
        self.throttled = False
        self.on_battery = False

    def look(self) -> None:
        self.disk_percent = self._disk()

    def _disk(self) -> float | None:
        """Of the file system that holds the root; a recorded tree lies on a disk that is not its own."""
        if not self._root.live:
            return None
        try:
            found = os.statvfs(self._root.path)
        except OSError:
            return None
        # As df counts: what is kept back for root is neither used nor free.
        used = found.f_blocks - found.f_bfree
        return 100.0 * used / (used + found.f_bavail) if used + found.f_bavail else None
