"""What this node takes: its real capacity less what it has admitted. What is not declared counts nothing."""

from meshnode.model.ids import InstanceId
from meshnode.model.resources import Resources
from meshnode.scheduler.fitting import lacking
from meshnode.scheduler.messages import Want
from meshnode.scheduler.ports import NodeFacts
from meshnode.scheduler.unit import Unit


class Admission:
    """Sums what this node's units asked for. ``own``: facts about this node."""

    def __init__(self, units_max: int) -> None:
        self._units_max = units_max
        self._needs: dict[InstanceId, Resources] = {}
        self._taken = Resources()

    def take(self, unit: Unit, want: Want) -> None:
        """Also again, where a unit is wanted with other resources."""
        self.give_back(unit.id)
        need = want.resources.times(unit.part.slots)
        self._needs[unit.id] = need
        self._taken = self._taken.plus(need)

    def give_back(self, unit: InstanceId) -> None:
        self._taken = self._taken.plus(self._needs.pop(unit, Resources()).times(-1))

    def lack(self, unit: Unit, want: Want, own: NodeFacts) -> str:
        """Why there is no room for a unit; "" if there is."""
        if len(self._needs) >= self._units_max:
            return f"it has {len(self._needs)} units, the most a node takes"
        words = lacking(want.resources.times(unit.part.slots), own, self._taken)
        return f"it has no {' and '.join(words)} left" if words else ""
