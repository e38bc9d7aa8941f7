"""This node's own row: what it signs about itself, refutation, and the proof that somebody else signs with our key.

Invariant: every (boot, incarnation) of ours that leaves this node has one content, so a second content is a twin's.
"""

from meshnode.gossip import directory
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.directory import Row, Status
from meshnode.gossip.letters import SignedRow
from meshnode.kernel.instant import MS, Instant
from meshnode.kernel.ports import Signer

SIGNED_MAX = 256
# Answers at once, and then one every so often: others count our rows, and one answer voids all reports before it.
REFUTE_MAX, REFUTE_EVERY_US = 6, 1500 * MS


class SelfRow:
    """Signs a new row for every change; the incarnation orders them within the boot."""

    def __init__(self, config: GossipConfig, signer: Signer) -> None:
        self._config = config
        self._signer = signer
        self._endpoints = config.endpoints
        self._facts = config.facts
        self._status = Status.ALIVE
        self._incarnation = 0
        self._paid_us = 0
        self._answer_us: int | None = None  # a report waits for its answer until then
        self._signed: dict[int, bytes] = {}  # incarnation -> body; the oldest leave first

    @property
    def incarnation(self) -> int:
        return self._incarnation

    @property
    def endpoints(self) -> tuple[tuple[str, int], ...]:
        return self._endpoints

    @property
    def left(self) -> bool:
        return self._status is Status.LEFT

    def first(self, now: Instant) -> SignedRow:
        return self._sign(now)

    def adopt(self, row: Row, body: bytes) -> None:
        """All others begin with this row of ours, signed under this boot: go on from there."""
        assert row.boot == self._config.boot, "another boot's row is no beginning"
        self._incarnation, self._endpoints, self._facts = row.incarnation, row.endpoints, row.facts
        self._signed[row.incarnation] = body

    def describe(self, facts: bytes, endpoints: tuple[tuple[str, int], ...], now: Instant) -> SignedRow | None:
        """``None`` when nothing changed."""
        if facts == self._facts and endpoints == self._endpoints:
            return None
        self._facts, self._endpoints = facts, endpoints
        return self._next(now)

    def readdress(self, endpoints: tuple[tuple[str, int], ...], now: Instant) -> SignedRow | None:
        """It is reached otherwise; ``None`` when nothing changed."""
        return self.describe(self._facts, endpoints, now)

    def refute(self, boot: int, incarnation: int, now: Instant) -> SignedRow | None:
        """Answer a report of our loss. Reports about anything but the row in force are void already."""
        if self.left or (boot, incarnation) != (self._config.boot, self._incarnation):
            return None
        free_us = self._paid_us - (REFUTE_MAX - 1) * REFUTE_EVERY_US
        if free_us > now.mono_us:
            self._answer_us = free_us  # somebody plays with us: those who say the same meanwhile get the same answer
            return None
        self._paid_us, self._answer_us = max(self._paid_us, now.mono_us) + REFUTE_EVERY_US, None
        return self._next(now)

    def wake(self, now: Instant) -> SignedRow | None:
        """The answer to a report that came too soon after the last one."""
        if self._answer_us is None or now.mono_us < self._answer_us:
            return None
        self._answer_us = None
        return self.refute(self._config.boot, self._incarnation, now)

    def deadline(self) -> int | None:
        return self._answer_us

    def leave(self, now: Instant) -> SignedRow:
        """The last row of this boot; a tombstone needs neither facts nor endpoints."""
        self._status, self._facts, self._endpoints = Status.LEFT, b"{}", ()
        return self._next(now)

    def twin(self, row: Row, body: bytes) -> str:
        """Why a validly signed row of our id proves another process with our key; "" if it is our own old word."""
        if row.boot < self._config.boot:
            return ""
        if row.boot > self._config.boot:
            return f"a row of this node says boot {row.boot}, and this is boot {self._config.boot}"
        if row.incarnation > self._incarnation:
            return (
                f"a row of this boot says incarnation {row.incarnation}, and only {self._incarnation} was signed here"
            )
        known = self._signed.get(row.incarnation)
        if known is None or known == body:
            return ""
        return f"two different rows of boot {row.boot}, incarnation {row.incarnation} carry this node's signature"

    def _next(self, now: Instant) -> SignedRow:
        self._incarnation += 1
        self._answer_us = None  # any newer row answers
        return self._sign(now)

    def _sign(self, now: Instant) -> SignedRow:
        row = Row(
            self._config.node, self._config.boot, self._incarnation, self._status, self._endpoints, self._facts,
            now.wall_ms,
        )  # fmt: skip
        body = directory.encode_row(row)
        self._signed[self._incarnation] = body
        while len(self._signed) > SIGNED_MAX:
            del self._signed[next(iter(self._signed))]
        return SignedRow(body, self._signer.sign(directory.CONTEXT, body), self._config.member)
