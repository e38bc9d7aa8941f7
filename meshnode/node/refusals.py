"""What peers sent and this node refused: counted always, told once an hour for each kind and peer, with what to do.

A flood of junk must not become a flood of writes. What went on within the last ten minutes is a problem in ``status``.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from meshnode.kernel.effects import Reject
from meshnode.kernel.instant import SECOND, Instant
from meshnode.model.ids import NodeId, short

AGAIN_US = 3_600 * SECOND
RECENT_US = 600 * SECOND
KINDS_MAX = 4_096  # beyond, nothing new is told
SHOWN_MAX = 8

_FAULTY = "its program or its machine is at fault, or somebody else uses its identity: end it there if it goes on"
_FORGED = (
    "a node on the way has failing memory or a failing disk, or somebody forges: look at the one that sent it first"
)
_OTHERS = "its version differs, or bytes were damaged: compare `meshnode status` there and here"
_ADVICE = {
    "flood-": f"no honest node sends so much: {_FAULTY}",
    "row-forged": _FORGED,
    "alert-forged": _FORGED,
    "soft-forged": _FORGED,
    "catalogue-forged": _FORGED,
    "row-of-another-node": _FAULTY,
    "row-member-": "its member record is not in force here: join that node anew",
    "member-": "its member record is not in force here: join it anew (`meshnode invite`, `meshnode join`)",
    "expelled-without-proof": f"it says that this node runs twice. If it does, end the copy; else {_FAULTY}",
    "banned": "an admin banned it: meshnode get policies; it comes back when its Policy says so no more",
    "catalogue-": f"it speaks for a region as it may not: {_FAULTY}",
    "soft-too-many-keys": "its agents offer more than 512 things in all: give them fewer skills",
    "whole-without-role": "it wants the facts of all regions, and has no role for that: join it as gateway or admin",
    "change-lost": "no fault of the sender: this node's own store does not hold what it took; restart this node",
    "directory-full": "the mesh is larger than this version holds",
    "letter-": _OTHERS,
    "rumour-malformed": _OTHERS,
    "row-malformed": _OTHERS,
    "alert-malformed": _OTHERS,
    "soft-malformed": _OTHERS,
}  # the longest beginning that fits


@dataclass(slots=True)
class _Seen:
    count: int = 0
    last_us: int = 0
    told_us: int = -AGAIN_US


class Refusals:
    """``conflicts``: names more than one key claims, the one in force first."""

    def __init__(
        self, name_of: Callable[[NodeId], str], conflicts: Callable[[], Mapping[str, Sequence[NodeId]]]
    ) -> None:
        self._name_of, self._conflicts = name_of, conflicts
        self._seen: dict[tuple[NodeId, str], _Seen] = {}
        self._clashes: dict[str, None] = {}

    def refused(self, effect: Reject, now: Instant) -> list[tuple[str, str]]:
        """The events to tell: subject and text."""
        told = self._clashed() if effect.reason.endswith("duplicate-name") else []
        key = effect.peer, effect.reason
        seen = self._seen.get(key)
        if seen is None:
            if len(self._seen) >= KINDS_MAX:
                return told
            seen = self._seen[key] = _Seen()
        seen.count, seen.last_us = seen.count + 1, now.mono_us
        if now.mono_us < seen.told_us + AGAIN_US:
            return told
        seen.told_us = now.mono_us
        return [*told, (f"node/{self._name_of(effect.peer)}", _words(effect))]

    def problems(self, now: Instant) -> list[str]:
        """Lines for ``status``: who is refused these minutes, and which names two nodes claim."""
        lately = [
            f"{self._name_of(peer)} is refused: {reason}, {_times(seen.count)}: meshnode why {self._name_of(peer)}"
            for (peer, reason), seen in self._seen.items()
            if now.mono_us < seen.last_us + RECENT_US and advice(reason)
        ]
        more = [f"and {len(lately) - SHOWN_MAX} more kinds of refusals"] if len(lately) > SHOWN_MAX else []
        return [*(_clash(name, nodes) for name, nodes in self._conflicts().items()), *lately[:SHOWN_MAX], *more]

    def _clashed(self) -> list[tuple[str, str]]:
        """Clashes of names nobody was told of."""
        fresh = {name: nodes for name, nodes in self._conflicts().items() if name not in self._clashes}
        self._clashes.update(dict.fromkeys(fresh))
        return [(f"node/{name}", _clash(name, nodes)) for name, nodes in fresh.items()]


def advice(reason: str) -> str:
    """What a person may do about a refusal; "" where nobody has to."""
    fitting = [beginning for beginning in _ADVICE if reason.startswith(beginning)]
    return _ADVICE[max(fitting, key=len)] if fitting else ""


def _times(count: int) -> str:
    return "once" if count == 1 else f"{count} times"


def _words(effect: Reject) -> str:
    detail = effect.detail.removeprefix(f"{effect.reason}: ")
    shown = f" ({detail})" if detail and detail != effect.reason else ""
    what_next = advice(effect.reason)
    return f"refused what it sent: {effect.reason}{shown}" + (f"; {what_next}" if what_next else "")


def _clash(name: str, nodes: Sequence[NodeId]) -> str:
    held, *others = [short(node) for node in nodes]
    return (
        f"two nodes claim the name {name}: {held} has it here, {', '.join(others)} is kept out; "
        "join one of them anew under another name (`meshnode invite --name`)"
    )
