"""Answers questions for lines of agents' logs, off the loop."""

from collections.abc import Callable
from pathlib import Path

from meshnode.host.logs import read_logs
from meshnode.host.worker import Worker
from meshnode.model.views import Failure, LogsView
from meshnode.node.effects import FetchLogs
from meshnode.node.inputs import LogsFetched

JOBS_MAX = 64
LINES_MAX = 2000


class LogReader:
    """``directory``: where the warden writes; ``node``: this node's name, as it stands in every line."""

    def __init__(self, directory: Path, node: str, tell: Callable[[LogsFetched], None]) -> None:
        self._directory, self._node, self._tell = directory, node, tell
        self._worker = Worker("logs", JOBS_MAX)

    def perform(self, effect: FetchLogs) -> None:
        if not self._worker.do(lambda: self._read(effect), self._tell):
            busy = Failure(code="busy", message="too many read logs here at once", next_step="try again in a moment")
            self._tell(LogsFetched(effect.ask_no, busy))

    def close(self) -> None:
        self._worker.close()

    def _read(self, effect: FetchLogs) -> LogsFetched:
        limit = min(effect.limit, LINES_MAX)
        try:
            lines, more = read_logs(self._directory, effect.agent, effect.after, limit, self._node)
        except OSError as error:
            what = f"the logs of agents cannot be read: {error.strerror or error}: {error.filename or self._directory}"
            return LogsFetched(effect.ask_no, Failure(code="failed", message=what, next_step="look at the disk"))
        return LogsFetched(effect.ask_no, LogsView(items=lines, more=more))
