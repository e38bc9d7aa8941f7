"""The units of a node, found by id, by agent and by connection: never by looking at all of them."""

from collections.abc import Iterator

from meshnode.agents.instance import Instance
from meshnode.model.ids import AgentConn, AgentName, InstanceId


class Units:
    """``alive``: how many have a process."""

    def __init__(self) -> None:
        self.alive = 0
        self._by_id: dict[InstanceId, Instance] = {}
        self._by_agent: dict[AgentName, dict[InstanceId, Instance]] = {}
        self._by_conn: dict[AgentConn, Instance] = {}

    def __len__(self) -> int:
        return len(self._by_id)

    def __iter__(self) -> Iterator[Instance]:
        return iter(self._by_id.values())

    def get(self, unit: InstanceId) -> Instance | None:
        return self._by_id.get(unit)

    def of_agent(self, agent: AgentName) -> list[Instance]:
        return list(self._by_agent.get(agent, {}).values())

    def of_conn(self, conn: AgentConn) -> Instance | None:
        return self._by_conn.get(conn)

    def add(self, unit: Instance) -> None:
        self._by_id[unit.id] = unit
        self._by_agent.setdefault(unit.agent, {})[unit.id] = unit

    def remove(self, unit: Instance) -> None:
        del self._by_id[unit.id]
        siblings = self._by_agent[unit.agent]
        del siblings[unit.id]
        if not siblings:
            del self._by_agent[unit.agent]

    def begin(self, unit: Instance, run_no: int, ticket: str, pid: int | None, now_us: int) -> None:
        """A run begins; nothing of an earlier one counts any more."""
        assert not unit.alive
        assert unit.conn is None
        self.alive += 1
        unit.run_no, unit.ticket, unit.pid, unit.began_us = run_no, ticket, pid, now_us
        unit.alive, unit.waiting, unit.adopted, unit.was_registered = True, False, False, False

    def end(self, unit: Instance) -> None:
        """The run is over."""
        assert unit.alive
        self.alive -= 1
        unit.alive, unit.pid = False, None
        self.disconnect(unit)

    def connect(self, unit: Instance, conn: AgentConn) -> None:
        unit.conn = conn
        self._by_conn[conn] = unit

    def disconnect(self, unit: Instance) -> None:
        if unit.conn is not None:
            del self._by_conn[unit.conn]
            unit.conn = None
