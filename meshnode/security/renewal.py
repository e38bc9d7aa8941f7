"""When a node asks for its next certificate, whom it asks, and how often when nobody gives one.

At half of a certificate's life, a little later for some, so that a mesh made on one day does not ask in one hour. The
host makes keys and talks to enrollers; this machine says when. What the links do about it, the stairs know.

Invariant: at most one renewal is under way.
"""

import datetime
from collections.abc import Callable, Sequence

import msgspec

from meshnode.kernel.backoff import Backoff
from meshnode.kernel.effects import Effect, Note
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.rng import Random
from meshnode.security.clock import MeshClock
from meshnode.security.messages import CertificateChanged, LeafRenewed, RenewalFailed, RenewalWanted, RenewLeaf

Address = tuple[str, int]

ADDRESSES_MAX = 16
LATER_PART = 20  # of the life: how much later than at half of it some ask
LOOK_AGAIN_US = 3600 * SECOND  # a clock may be set meanwhile
WAIT_US = 300 * SECOND  # longer than the host tries all addresses
SOONEST_US = 3600 * SECOND  # after a renewal: an enroller near its own end gives ever shorter lives
PACE = Backoff(first_us=60 * SECOND, cap_us=3600 * SECOND)


class Leaf(msgspec.Struct, frozen=True):
    """The certificate in use. ``until_ms`` 0: there is none, as in the simulator, and nothing to renew."""

    sha256: str = ""
    from_ms: int = 0
    until_ms: int = 0


class Renewal:
    """``enrollers``: where somebody may answer, best first. ``name``: of this node, for its story."""

    def __init__(
        self, leaf: Leaf, clock: MeshClock, rng: Random, *, name: str, enrollers: Callable[[], Sequence[Address]],
    ) -> None:  # fmt: skip
        self.leaf = leaf
        self._clock, self._rng, self._name, self._enrollers = clock, rng, name, enrollers
        self._later = rng.random() / LATER_PART
        self._due_us: int | None = None
        self._asked_us: int | None = None  # one is under way since
        self._failures = 0
        self._told = ""  # the reason told last

    def start(self, now: Instant) -> None:
        self._plan(now)

    def handle(self, event: RenewalWanted | LeafRenewed | RenewalFailed, now: Instant) -> list[Effect]:
        match event:
            case RenewalWanted():
                return self._ask(now) if self._asked_us is None and self.leaf.until_ms else []
            case LeafRenewed():
                return self._renewed(event, now)
            case RenewalFailed(reason):
                return self._failed(reason, now)

    def wake(self, now: Instant) -> list[Effect]:
        if self._asked_us is not None:
            late = now.mono_us >= self._asked_us + WAIT_US
            return self._failed("no answer", now) if late else []
        if self._due_us is None or now.mono_us < self._due_us:
            return []
        if not self._failures and self._clock.now_ms(now) < self._due_ms:
            self._plan(now)
            return []
        return self._ask(now)

    def deadline(self) -> int | None:
        return earliest(self._due_us, None if self._asked_us is None else self._asked_us + WAIT_US)

    @property
    def _due_ms(self) -> int:
        life_ms = self.leaf.until_ms - self.leaf.from_ms
        return self.leaf.from_ms + round(life_ms * (0.5 + self._later))

    def _plan(self, now: Instant, soonest_us: int = 0) -> None:
        if self.leaf.until_ms:
            wait_us = max(0, (self._due_ms - self._clock.now_ms(now)) * MS, soonest_us)
            self._due_us = now.mono_us + min(LOOK_AGAIN_US, wait_us)

    def _ask(self, now: Instant) -> list[Effect]:
        self._asked_us, self._due_us = now.mono_us, None
        return [RenewLeaf(tuple(dict.fromkeys(self._enrollers()))[:ADDRESSES_MAX])]

    def _renewed(self, event: LeafRenewed, now: Instant) -> list[Effect]:
        self.leaf = Leaf(event.sha256, event.from_ms, event.until_ms)
        self._asked_us, self._failures, self._told = None, 0, ""
        self._plan(now, SOONEST_US)
        return [self._note(f"certificate renewed, until {_written(event.until_ms)}"), CertificateChanged()]

    def _failed(self, reason: str, now: Instant) -> list[Effect]:
        """Told once a reason: it is asked for days until the certificate ends."""
        self._asked_us = None
        self._failures += 1
        self._due_us = now.mono_us + PACE.wait_us(self._failures, self._rng)
        if reason == self._told:
            return []
        self._told = reason
        return [self._note(f"certificate not renewed, it ends {_written(self.leaf.until_ms)}: {reason}")]

    def _note(self, text: str) -> Note:
        return Note(f"node/{self._name}", text)


def _written(at_ms: int) -> str:
    return f"{datetime.datetime.fromtimestamp(at_ms / 1000, tz=datetime.UTC):%Y-%m-%d %H:%M} UTC"
