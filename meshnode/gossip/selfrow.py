"""This node's own row: what it signs about itself, refutation, and the proof that somebody else signs with our key.

Invariant: every (boot, incarnation) of ours that leaves this node has one content, so a second content is a twin's.
"""

from meshnode.gossip import directory
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.directory import Row, Status
from meshnode.gossip.letters import SignedRow
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.ports import Signer

SIGNED_MAX = 256
REFUTE_MAX, REFUTE_WITHIN_US = 8, 10 * SECOND


class SelfRow:
    """Signs a new row for every change; the incarnation orders them within the boot."""

    def __init__(self, config: GossipConfig, signer: Signer) -> None:
        self._config = config
        self._signer = signer
        self._endpoints = config.endpoints
        self._facts = config.facts
        self._status = Status.ALIVE
        self._incarnation = 0
        self._refuted_us: list[int] = []
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

    def refute(self, boot: int, incarnation: int, now: Instant) -> SignedRow | None:
        """Answer a report of our loss. Reports about anything but the row in force are void already."""
        if self.left or (boot, incarnation) != (self._config.boot, self._incarnation):
            return None
        self._refuted_us = [at_us for at_us in self._refuted_us if at_us > now.mono_us - REFUTE_WITHIN_US]
        if len(self._refuted_us) >= REFUTE_MAX:
            return None  # somebody plays with us; the next report will do
        self._refuted_us.append(now.mono_us)
        return self._next(now)

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
