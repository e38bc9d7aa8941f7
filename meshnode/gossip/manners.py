"""What one member may ask of this node in a while: more than any honest one does, and not all it could.

A member is let in by an admin's word, not by good behaviour. Small letters that make a node send, sign or check much
are counted by neighbour; what a node, an observer or a spokesman may tell the whole mesh is counted by its author,
whoever brings it, and only once its signature was checked: nobody can use up another one's share.
"""

from collections.abc import Hashable
from itertools import islice
from typing import Generic, TypeVar

from meshnode.kernel.effects import Reject
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId, short

KIB = 1024
KEYS_MAX = 8_192
WORD_BURST, WORD_EVERY_US = 12, 5 * SECOND  # of one spokesman about one name: a summary is told every ten seconds
# A whole directory at once, and then more than the widest budget lets an honest neighbour send.
BYTES_BURST, BYTES_A_SECOND = 16 * KIB * KIB, 512 * KIB

KeyT = TypeVar("KeyT", bound=Hashable)


class Overdone(RemoteError):
    """Somebody does too often what may be done now and then. ``by``: not always who brought it."""

    def __init__(self, reason: str, detail: str, by: NodeId) -> None:
        super().__init__(reason, detail)
        self.by = by


class Throttle(Generic[KeyT]):
    """So many at once, and then one every so often, by key (GCRA, ITU-T I.371).

    A key that has all its share again is as good as unknown, and forgotten; where there is no room for more, the oldest
    is.
    """

    def __init__(self, burst: int, every_us: float, keys_max: int = KEYS_MAX) -> None:
        self.burst, self.every_us = burst, every_us
        self._keys_max = keys_max
        self._paid_us: dict[KeyT, float] = {}

    def __len__(self) -> int:
        return len(self._paid_us)

    def takes(self, key: KeyT, now_us: int, count: int = 1) -> bool:
        paid_us = max(self._paid_us.pop(key, 0), now_us) + count * self.every_us
        allowed = paid_us <= now_us + self.burst * self.every_us
        self._paid_us[key] = paid_us if allowed else paid_us - count * self.every_us
        self._forget(now_us)
        return allowed

    def _forget(self, now_us: int) -> None:
        """Of those used longest ago, two at a time: the table never outgrows what is used within a share's time."""
        for oldest in tuple(islice(self._paid_us, 2)):
            if self._paid_us[oldest] <= now_us or len(self._paid_us) > self._keys_max:
                del self._paid_us[oldest]


class Manners:
    """Limits by neighbour for letters, by author for what goes to everybody."""

    def __init__(self) -> None:
        def limit(burst: int, a_second: float) -> Throttle[NodeId]:
            return Throttle(burst, SECOND / a_second)

        self._bytes: Throttle[NodeId] = limit(BYTES_BURST, BYTES_A_SECOND)
        greetings, repairs = ("flood-greetings", limit(512, 32)), ("flood-repairs", limit(2_048, 128))
        self._letters: dict[int, tuple[str, Throttle[NodeId]]] = {  # by the tags of letters.py
            1: greetings, 2: greetings, 4: repairs, 5: repairs, 6: ("flood-pulls", limit(1_024, 64)),
            9: ("flood-grafts", limit(4_096, 512)), 13: ("flood-probes", limit(1_024, 64)),
            15: ("flood-standings", limit(64, 1)), 16: ("flood-doubts", limit(4, 1 / 15)),
            18: ("flood-dialbacks", limit(4, 1 / 15)), 19: ("flood-dialbacks", limit(4, 1 / 15)),
        }  # fmt: skip
        self._rows: Throttle[NodeId] = limit(32, 1)
        self._alerts: Throttle[NodeId] = limit(512, 1 / 2)
        self._told: Throttle[tuple[NodeId, NodeId]] = Throttle(8, 3_000 * MS)
        self._regions: Throttle[NodeId] = limit(4_096, 8)
        # Who contradicts the other spokesmen of its region again and again is passed on ever more rarely.
        self._words: Throttle[tuple[NodeId, str]] = Throttle(WORD_BURST, WORD_EVERY_US)

    def letter(self, peer: NodeId, body: bytes, now: Instant) -> None:
        """A letter that came, unread. Raises ``Overdone``."""
        if not self._bytes.takes(peer, now.mono_us, len(body)):
            raise Overdone("flood-bytes", f"more than {BYTES_A_SECOND // KIB} KiB/s", peer)
        found = self._letters.get(body[1]) if len(body) > 1 else None  # the tag, right after the head of its array
        if found is None:
            return
        name, throttle = found
        count = _ids(body) if name == "flood-grafts" else 1
        if not throttle.takes(peer, now.mono_us, count):
            raise Overdone(name, f"more than {_often(throttle)}", peer)

    def row(self, node: NodeId, now: Instant) -> None:
        """News of a node by itself, checked: all nodes will pass it on. Raises ``Overdone``."""
        if not self._rows.takes(node, now.mono_us):
            raise Overdone("flood-rows", f"{short(node)} signs more than {_often(self._rows)} of its own rows", node)

    def alerts(self, observer: NodeId, subjects: list[NodeId], now: Instant) -> None:
        """What an observer says it lost, checked. Raises ``Overdone``."""
        if not self._alerts.takes(observer, now.mono_us, len(subjects)):
            raise Overdone("flood-alerts", f"it reports more than {_often(self._alerts)} nodes lost", observer)
        for subject in subjects:
            if not self._told.takes((observer, subject), now.mono_us):
                text = f"it reports {short(subject)} lost more than {_often(self._told)}"
                raise Overdone("flood-alerts", text, observer)

    def region(self, author: NodeId, name: str, now: Instant) -> None:
        """News of a region by its spokesman, checked. ``name``: what it is about. Raises ``Overdone``."""
        if not self._regions.takes(author, now.mono_us):
            raise Overdone("flood-catalogue", f"it tells more than {_often(self._regions)} rows", author)
        if not self._words.takes((author, name), now.mono_us):
            text = f"it says something else of {name or 'its region'} more than {_often(self._words)}"
            raise Overdone("flood-catalogue", text, author)


def blame(peer: NodeId, error: RemoteError) -> Reject:
    """The refusal of what ``peer`` brought, in the name of who is guilty of it."""
    return Reject(error.by if isinstance(error, Overdone) else peer, error.reason, str(error))


def _ids(body: bytes) -> int:
    return max(1, len(body) // 18)


def _often(throttle: Throttle[KeyT]) -> str:
    a_minute = 60 * SECOND / throttle.every_us
    return f"{a_minute / 60:.0f} a second" if a_minute >= 60 else f"{a_minute:.0f} a minute"
