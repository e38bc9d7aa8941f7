"""Batches on their way to the journal: what hangs on each commit, and what is true when one fails.

Documents offer again by themselves what the disk did not take (``crdt/keeping.py``); claims of units are offered again
from here, or a unit given up on a full disk would come back at the next boot.
"""

from collections.abc import Sequence

import msgspec

from meshnode.checkpoints.messages import after_failure
from meshnode.crdt.messages import DocumentChanged
from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.document_views import AppliedView
from meshnode.model.views import AgentView, AnyView, Failure
from meshnode.node.effects import Exit, Reply, Store
from meshnode.node.facts import Started, WishesUnkept
from meshnode.scheduler.messages import UnitChanged, UnitClaimed, UnitReleased
from meshnode.security.messages import IssueLeaf, RefuseEnrolment

AGAIN_AFTER_US = 10 * SECOND
EXIT_UNCOUNTED = 1


class _Batch(msgspec.Struct, frozen=True):
    then: tuple[Effect, ...]
    claims: tuple[Record, ...]


class Commits:
    """Batches are numbered; each ends in ``stored`` or ``failed``."""

    def __init__(self) -> None:
        self._last = 0
        self._under_way: dict[int, _Batch] = {}
        self._newest: dict[bytes, int] = {}  # unit -> the batch with its newest claim
        self._owed: dict[bytes, Record] = {}  # claims the disk did not take
        self._again_us: int | None = None

    def store(
        self, records: tuple[Record, ...], then: tuple[Effect, ...] = (), *, idly: bool = False, lazily: bool = False
    ) -> Store:
        self._last += 1
        claims = tuple(record for record in records if record.kind is RecordKind.CLAIM)
        for record in claims:
            self._owed.pop(record.key, None)
            self._newest[record.key] = self._last
        if then or claims:
            self._under_way[self._last] = _Batch(then, claims)
        return Store(self._last, records, idly, lazily)

    def stored(self, batch_no: int) -> tuple[Effect, ...]:
        """What was to happen after this commit."""
        batch = self._under_way.pop(batch_no, None)
        if batch is None:
            return ()
        self._newest_of(batch_no, batch)
        return batch.then

    def failed(self, batch_no: int, error: str, now: Instant) -> list[Effect]:
        """Nothing that hung on the commit happens; whoever waits for an answer gets the reason."""
        batch = self._under_way.pop(batch_no, None)
        if batch is None:
            return []
        for record in self._newest_of(batch_no, batch):
            self._owed[record.key] = record
            self._again_us = now.mono_us + AGAIN_AFTER_US
        return [instead for effect in batch.then for instead in _instead(effect, error)]

    def wake(self, now: Instant) -> list[Effect]:
        """Offer again what is owed."""
        if self._again_us is None or self._again_us > now.mono_us:
            return []
        self._again_us = None
        return [self.store(tuple(self._owed.values()))] if self._owed else []

    def deadline(self) -> int | None:
        return self._again_us

    def _newest_of(self, batch_no: int, batch: _Batch) -> Sequence[Record]:
        """The claims of this batch that no later batch has replaced; they are under way no more."""
        newest = [record for record in batch.claims if self._newest.get(record.key) == batch_no]
        for record in newest:
            del self._newest[record.key]
        return newest


def _instead(effect: Effect, error: str) -> list[Effect]:
    match effect:
        case Started():
            return [Exit(EXIT_UNCOUNTED, f"this boot could not be counted: {error}")]
        case Reply(command_no, view):
            return [Reply(command_no, _failure(view, error))]
        case IssueLeaf(request_no):
            message = f"the enroller could not write down that the invite is used: {error}; ask for a new one"
            return [RefuseEnrolment(request_no, "journal-failed", message)]
        case UnitClaimed() | UnitChanged() | UnitReleased():
            return [effect]  # agents go on while the disk does not; the claim is owed to it
        case DocumentChanged():
            return [WishesUnkept()]
        case _:
            lost = after_failure(effect, error)
            return [] if lost is None else [lost]


def _failure(view: AnyView, error: str) -> Failure:
    return Failure(
        code="journal-failed", message=f"{error.rstrip('.')}. {_what_is_so(view)}",
        next_step="free disk space or mend the disk; meshnode status tells when it is well again",
    )  # fmt: skip


def _what_is_so(view: AnyView) -> str:
    match view:
        case AppliedView(kind=kind, namespace=namespace, name=name, action=action):
            what = "deleted" if action == "deleted" else "changed"
            return (
                f"{kind} {namespace}/{name} is {what} on this node, in memory only: other nodes are not given it and "
                "a restart loses it until the disk takes it, which this node goes on trying"
            )
        case AgentView(name=name, state=state):
            after = "wants it again" if state in ("stopping", "stopped") else "forgets it"
            return (
                f"Agent {name} is {state}, and a restart of this node {after} until the disk takes its document, which "
                "this node goes on trying"
            )
        case _:
            return "Nothing changed"
