"""The reckoning: what the load was told against what the agents know. Nothing here asks a daemon."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from meshnode.checkpoints.reading import read_state
from meshnode.kernel.journal import recover
from meshnode.kernel.records import Record, RecordKind
from meshnode.wire.state import read_key
from tests.demo.ledger import Line
from tests.demo.meter import ID, TOTAL

SHOWN = 4


class Counted(NamedTuple):
    """What one unit knows: the total, and what was added for each id."""

    total: int
    ids: dict[str, int]


def counted(keys: Mapping[str, object]) -> Counted:
    """From the keys of a state."""
    ids = {key.removeprefix(ID): int(str(n)) for key, n in keys.items() if key.startswith(ID)}
    return Counted(int(str(keys.get(TOTAL, 0))), ids)


def lost(lines: Sequence[Line], units: Mapping[int, Counted]) -> list[str]:
    """Acknowledged readings that are not where they belong, or with another amount."""
    return [
        f"{line.id} of meter/{line.slot}, answered by {line.attempts[-1].node}"
        for line in lines
        if line.acknowledged and line.slot in units and units[line.slot].ids.get(line.id) != line.n
    ]


def twice(lines: Sequence[Line], units: Mapping[int, Counted]) -> list[str]:
    """Totals that are not the sum of their readings, readings in two units, and readings nobody sent."""
    found = [
        f"meter/{slot} has {unit.total}, its {len(unit.ids)} readings add up to {sum(unit.ids.values())}"
        for slot, unit in sorted(units.items())
        if unit.total != sum(unit.ids.values())
    ]
    homes: dict[str, int] = {}
    sent = {line.id: line.n for line in lines}
    for slot, unit in sorted(units.items()):
        for id_, n in unit.ids.items():
            if id_ in homes:
                found.append(f"{id_} is in meter/{homes[id_]} and in meter/{slot}")
            if sent.get(id_) != n:
                found.append(f"{id_} with {n} was never sent")
            homes[id_] = slot
    return found


def some(found: Sequence[str]) -> str:
    """The first few, for people."""
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(found[:SHOWN]) + more


def on_disk(directory: str) -> dict[int, Counted]:
    """The units of the meter as a node's files tell them: its journal, and the chunks of its checkpoints."""
    data = (Path(directory) / "journal").read_bytes()

    def chunk(digest: str) -> bytes:
        return (Path(directory) / "blobs" / digest[:2] / digest[2:]).read_bytes()

    found: dict[int, Counted] = {}
    for unit, state in read_state(_live(recover(data).records), chunk).items():
        agent, _, slot = unit.partition("/")
        if agent == "meter":
            keys = {read_key(key).name: json.loads(value) for key, value in state.values().items()}
            found[int(slot)] = counted(keys)
    return found


def _live(records: Sequence[Record]) -> list[Record]:
    """The newest of each key, in the order of writing; an empty body takes the key away."""
    newest: dict[tuple[RecordKind, bytes], Record] = {}
    for record in records:
        newest.pop((record.kind, record.key), None)
        if record.body:
            newest[record.kind, record.key] = record
    return list(newest.values())
