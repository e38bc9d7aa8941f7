"""What nodes tell: a made-up state of some units as JSON, 1 KiB, the same for the same node and number.

So books need no copy of it: what a store has can be held against what must have been written.
"""

import json
import random

BYTES = 1024
_POOL = 8192  # far more than one segment holds: nothing is packed better than it would be in a real fleet
_UNITS = 14
_STEP = 104_729  # a prime: two events of a node that follow each other share nothing


def _pool() -> list[str]:
    luck = random.Random(5)
    return [json.dumps([_unit(luck, at) for at in range(_UNITS)], separators=(",", ":")) for _ in range(_POOL)]


def _unit(luck: random.Random, at: int) -> dict[str, object]:
    return {
        "id": f"a{at}",
        "st": luck.choice(("running",) * 20 + ("starting", "backoff")),
        "lat": round(luck.random() * 900, 1),
        "err": round(luck.random() * 0.02, 4),
        "cap": f"cap.{luck.randrange(200):03d}",
    }


class Deltas:
    """The texts of a fleet."""

    def __init__(self) -> None:
        self._pool = _pool()

    def text(self, node: int, number: int) -> str:
        """Of the event ``number`` of the node ``node``; 1 KiB."""
        body = self._pool[(node * 7919 + number * _STEP) % _POOL]
        return f'{{"node":{node},"seq":{number},"agents":{body}'[:BYTES].ljust(BYTES, "}")
