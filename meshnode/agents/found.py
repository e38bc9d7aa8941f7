"""What a former daemon left running, until somebody here asks for it; and registrations that came too early.

Such a process registers again as soon as there is a bus, which may be before the scheduler has decided: its
registration is kept and answered when it is adopted, or when it is not.
"""

from collections.abc import Sequence

from meshnode.agents.messages import AgentRegistered, FoundProcess
from meshnode.model.ids import AgentConn, InstanceId


class Found:
    """``told``: what already runs here has been told. ``due_us``: when what nobody has asked for is to be stopped."""

    def __init__(self, registrations_max: int) -> None:
        self.told = False
        self.due_us: int | None = None
        self._registrations_max = registrations_max
        self._processes: dict[InstanceId, FoundProcess] = {}
        self._early: dict[AgentConn, AgentRegistered] = {}  # from before anything was told: nobody can judge them
        self._held: dict[InstanceId, AgentRegistered] = {}
        self._held_conns: dict[AgentConn, InstanceId] = {}

    def __len__(self) -> int:
        return len(self._processes)

    def learn(self, found: Sequence[FoundProcess]) -> list[FoundProcess]:
        """Gives the older of two runs of one unit, which nobody can want. What came early is next: ``early``."""
        self.told = True
        older: list[FoundProcess] = []
        for process in sorted(found, key=lambda process: process.run_no):
            before = self._processes.pop(process.instance, None)
            if before is not None:
                older.append(before)
            self._processes[process.instance] = process
        return older

    def process(self, unit: str) -> FoundProcess | None:
        return self._processes.get(InstanceId(unit))

    def take(self, unit: InstanceId) -> tuple[FoundProcess | None, AgentRegistered | None]:
        """The process of this unit, and its registration if it has come already: both are the caller's now."""
        held = self._held.pop(unit, None)
        if held is not None:
            del self._held_conns[held.conn]
        process = self._processes.pop(unit, None)
        if not self._processes:
            self.due_us = None
        return process, held

    def unasked(self) -> list[InstanceId]:
        return list(self._processes)

    def keep_early(self, event: AgentRegistered) -> bool:
        """False: there are too many already."""
        if len(self._early) >= self._registrations_max:
            return False
        self._early[event.conn] = event
        return True

    def early(self) -> list[AgentRegistered]:
        events, self._early = list(self._early.values()), {}
        return events

    def hold(self, event: AgentRegistered) -> None:
        """The caller has judged it, and that it is the first of its process."""
        unit = InstanceId(event.header.instance)
        assert unit in self._processes
        assert unit not in self._held
        self._held[unit] = event
        self._held_conns[event.conn] = unit

    def holds(self, unit: str) -> bool:
        return InstanceId(unit) in self._held

    def gone(self, conn: AgentConn) -> None:
        """The connection of a registration that waits has ended."""
        self._early.pop(conn, None)
        unit = self._held_conns.pop(conn, None)
        if unit is not None:
            del self._held[unit]
