"""The grid of all nodes, kept in memory by what changes: a page draws it at its start and after every reset."""

from collections.abc import Mapping

from cloud_gateway.model.queries import GridCell
from cloud_gateway.store.columns import LAYOUTS, Value

_PLACES = [
    [column.name for column in LAYOUTS["nodes"].columns].index(name)
    for name in ("region", "node_id", "name", "state", "cpu_percent")
]


class Grid:
    """For one thread at a time. What it told stays as it is: a change makes a new one."""

    def __init__(self) -> None:
        self._cells: dict[str, dict[str, GridCell]] = {}  # by region and node id
        self._told: dict[str, list[GridCell]] | None = None

    def change(self, old: tuple[Value, ...] | None, new: tuple[Value, ...] | None) -> None:
        """A node came (``old`` None), changed, or went (``new`` None): values of its columns."""
        before = _cell(old) if old else None
        after = _cell(new) if new else None
        if before == after:
            return
        self._told = None
        if before and (after is None or before[:2] != after[:2]):
            self._take(*before[:2])
        if after:
            region, node_id, cell = after
            self._cells.setdefault(region, {})[node_id] = cell

    def troubles_changed(self) -> None:
        self._told = None

    def told(self, troubled: Mapping[str, int]) -> dict[str, list[GridCell]]:
        """Region -> its nodes by name; ``troubled``: units that are not well, by the node's name."""
        if self._told is None:
            self._told = {
                region: sorted((_with(cell, troubled.get(cell.name, 0)) for cell in cells.values()), key=_name)
                for region, cells in sorted(self._cells.items())
            }
        return self._told

    def _take(self, region: str, node_id: str) -> None:
        del self._cells[region][node_id]
        if not self._cells[region]:
            del self._cells[region]


def _cell(values: tuple[Value, ...]) -> tuple[str, str, GridCell]:
    region, node_id, name, state, cpu = (values[at] for at in _PLACES)
    percent = round(cpu) if isinstance(cpu, float) and cpu >= 0 else -1
    return str(region), str(node_id), GridCell(str(name), str(state), percent, 0)


def _with(cell: GridCell, troubled: int) -> GridCell:
    return GridCell(cell.name, cell.state, cell.cpu, troubled) if troubled else cell


def _name(cell: GridCell) -> str:
    return cell.name
