"""Idempotency keys at work: of two calls under one key at one unit only one runs, the other follows it.

A call that was given up while it ran leaves a ghost: its process may still change state and say so, and until that is
known a repetition must not run beside it.
"""

from meshnode.model.ids import InstanceId

Place = tuple[InstanceId, str]  # unit, key


class Keys:
    """Which call holds which key, and who follows it."""

    def __init__(self, ghosts_max: int) -> None:
        self._holders: dict[Place, bytes] = {}
        self._places: dict[bytes, Place] = {}
        self._followers: dict[Place, list[bytes]] = {}
        self._ghosts: dict[bytes, None] = {}
        self._ghosts_max = ghosts_max

    def __len__(self) -> int:
        return len(self._holders)

    def take(self, place: Place, call_id: bytes) -> bool:
        """Whether this call may run; if not, it follows the one that does."""
        holder = self._holders.setdefault(place, call_id)
        if holder == call_id:
            self._places[call_id] = place
            return True
        self._followers.setdefault(place, []).append(call_id)
        return False

    def haunt(self, call_id: bytes) -> bool:
        """Its call was given up, and is perhaps still at work. ``False``: it holds no key, or there are too many."""
        if call_id not in self._places or len(self._ghosts) >= self._ghosts_max:
            return False
        self._ghosts[call_id] = None
        return True

    def haunted(self, call_id: bytes) -> InstanceId | None:
        """The unit at which the ghost of this call is."""
        return self._places[call_id][0] if call_id in self._ghosts else None

    def ghosts_of(self, unit: InstanceId) -> list[bytes]:
        return [call_id for call_id in self._ghosts if self._places[call_id][0] == unit]

    def release(self, call_id: bytes) -> list[bytes]:
        """The key is free again; who followed, oldest first."""
        place = self._places.pop(call_id, None)
        if place is None:
            return []
        self._ghosts.pop(call_id, None)
        del self._holders[place]
        return self._followers.pop(place, [])
