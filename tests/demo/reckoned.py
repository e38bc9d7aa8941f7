"""The last checks of the verifier: the load's ledger against the states, read through the API and from the disks."""

import itertools
import statistics
from collections import Counter
from typing import Any

from tests.demo.evidence import Seen
from tests.demo.ledger import read_ledger
from tests.demo.looking import client_of, until
from tests.demo.reckoning import Counted, counted, lost, on_disk, some, twice

Order = dict[str, Any]


def every_one(order: Order) -> Seen:
    """Every acknowledged reading is in the state of its unit, as every node shows it."""
    lines = read_ledger(order["ledger"])

    def look() -> Seen:
        for name, directory in order["nodes"].items():
            missing = lost(lines, _states(directory, order["slots"]))
            if missing:
                return Seen(holds=False, seen=f"{name} lacks {len(missing)}: {some(missing)}")
        done = sum(line.acknowledged for line in lines)
        return Seen(
            holds=True,
            seen=f"{done} acknowledged, {len(lines) - done} unknown, asked through {len(order['nodes'])} nodes",
        )

    return until(look, order["since"], order["wait_s"])


def no_one_twice(order: Order) -> Seen:
    """Every total is the sum of its readings, each there once, unknown ones once at most, and none that nobody sent."""
    lines = read_ledger(order["ledger"])
    unknown = {line.id for line in lines if not line.acknowledged}

    def look() -> Seen:
        units = _states(next(iter(order["nodes"].values())), order["slots"])
        found = twice(lines, units)
        if found:
            return Seen(holds=False, seen=f"{len(found)}: {some(found)}")
        total = sum(unit.total for unit in units.values())
        counted_unknown = sum(id_ in unknown for unit in units.values() for id_ in unit.ids)
        return Seen(
            holds=True, seen=f"total {total}; of {len(unknown)} unknown readings {counted_unknown} were counted, once"
        )

    return until(look, order["since"], min(5.0, order["wait_s"]))


def file_keeps(order: Order) -> Seen:
    """The files of one node, whose daemon does not run, hold every reading that it acknowledged."""
    units = on_disk(order["directory"])
    lines = [
        line for line in read_ledger(order["ledger"]) if line.acknowledged and line.attempts[-1].node == order["by"]
    ]
    missing = lost(lines, {slot: units.get(slot, Counted(0, {})) for slot in order["slots"]})
    if missing:
        return Seen(holds=False, seen=f"{len(missing)} of {len(lines)} are not: {some(missing)}")
    return Seen(holds=bool(lines), seen=f"{len(lines)} readings in {len(units)} states")


def files(order: Order) -> Seen:
    """The journals and checkpoint files hold every acknowledged reading on two disks at least, and count none twice."""
    lines = read_ledger(order["ledger"])

    def look() -> Seen:
        disks = {name: on_disk(directory) for name, directory in order["nodes"].items()}
        for slot in order["slots"]:
            complete = [name for name, units in disks.items() if slot in units and not lost(lines, {slot: units[slot]})]
            if len(complete) < order["copies"]:
                return Seen(holds=False, seen=f"meter/{slot} is complete on {', '.join(complete) or 'no disk'} only")
            found = twice(lines, {slot: disks[complete[0]][slot]})
            if found:
                return Seen(holds=False, seen=f"on {complete[0]}: {some(found)}")
        whole = sum(len(units) for units in disks.values())
        return Seen(holds=True, seen=f"{whole} states rebuilt from {len(disks)} disks, each reading on two at least")

    return until(look, order["since"], order["wait_s"])


def siblings(order: Order) -> Seen:
    """No key of the meter is in conflict: what both sides of the cut counted was added up."""
    rows = [row for row in client_of(order["asked"]).conflicts() if row.name.startswith("meter")]
    return Seen(holds=not rows, seen=f"{len(rows)} keys with siblings {some([row.field for row in rows])}".strip())


def load_told(order: Order) -> Seen:
    """For people: how the load fared."""
    lines = [line for line in read_ledger(order["ledger"]) if line.acknowledged]
    ends = sorted(line.ended for line in lines)
    gap = max((after - before for before, after in itertools.pairwise(ends)), default=0.0)
    slowest = max((line.ended - line.began for line in lines), default=0.0)
    again = sum(len(line.attempts) > 1 for line in lines)
    levels = Counter(line.attempts[-1].durability for line in lines)
    kept = ", ".join(f"{count} {level}" for level, count in sorted(levels.items()))
    return Seen(
        bool(lines),
        f"{len(lines)} readings acknowledged ({kept}), {again} after another try; "
        f"slowest {slowest:.2f} s, longest time without any {gap:.2f} s",
    )


def speed(order: Order) -> Seen:
    """Calm calls of the load through two daemons: the median in milliseconds is ``seen``."""
    calm = [
        line.attempts[0].took_s * 1000
        for line in read_ledger(order["ledger"])
        if len(line.attempts) == 1 and line.acknowledged and line.attempts[0].node != line.attempts[0].through
    ]
    return Seen(holds=bool(calm), seen=f"{statistics.median(calm):.1f}" if calm else "")


def _states(directory: str, slots: list[int]) -> dict[int, Counted]:
    client = client_of(directory)
    return {slot: counted(client.state(f"meter/{slot}").keys) for slot in slots}
