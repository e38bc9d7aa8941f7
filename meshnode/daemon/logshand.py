"""Reads agents' logs off the loop and tells what was found."""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from meshnode.host.logs import read_logs
from meshnode.model.views import Failure, LogsView
from meshnode.node.effects import FetchLogs
from meshnode.node.inputs import LogsFetched


class LogsHand:
    """One thread, started with the first reading; what waits for it is bounded by the desk that asks."""

    def __init__(self, directory: Path, node: str, tell: Callable[[LogsFetched], None]) -> None:
        self._directory, self._node, self._tell = directory, node, tell
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="logs")

    def perform(self, effect: FetchLogs) -> None:
        job = self._loop.run_in_executor(self._thread, self._read, effect)
        job.add_done_callback(lambda done: None if done.cancelled() else self._tell(done.result()))

    def close(self) -> None:
        self._thread.shutdown(wait=False, cancel_futures=True)

    def _read(self, effect: FetchLogs) -> LogsFetched:
        try:
            lines, more = read_logs(self._directory, effect.agent, effect.after, effect.limit, self._node)
        except OSError as error:
            message = f"the logs in {self._directory} cannot be read: {error.strerror or error}"
            return LogsFetched(
                effect.ask_no, Failure(code="logs-unreadable", message=message, next_step="check the disk")
            )
        return LogsFetched(effect.ask_no, LogsView(items=lines, more=more))
