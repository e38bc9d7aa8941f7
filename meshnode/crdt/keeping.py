"""Envelopes that are in a document already and whose commit has not been reported yet.

Until then peers are not given them. A disk that refuses (full, failing) reports nothing, so they are offered to it
again later; a local write repeated in the meantime waits for its commit instead of counting as done.
"""

from collections.abc import Iterable, Sequence

from meshnode.crdt.gate import Admitted
from meshnode.crdt.messages import EnvelopesKept
from meshnode.kernel.effects import Effect, Persist
from meshnode.kernel.instant import Instant
from meshnode.model.ids import DocId


class Keeping:
    """In order of application."""

    def __init__(self, retry_after_us: int) -> None:
        self._retry_after_us = retry_after_us
        self._pending: dict[bytes, tuple[Admitted, int]] = {}  # envelope id -> and when it is to be offered again
        self._of: dict[DocId, dict[bytes, None]] = {}
        self._told: dict[bytes, None] = {}  # those that were passed on and told about before their commit

    def __contains__(self, envelope: bytes) -> bool:
        return envelope in self._pending

    def __len__(self) -> int:
        return len(self._pending)

    def offer(self, envelopes: Sequence[Admitted], now: Instant, *, patience_us: int = 0) -> None:
        """``patience_us``: how long the disk may take before it counts as having refused, on top of the usual."""
        again_us = now.mono_us + self._retry_after_us + patience_us
        for each in envelopes:
            # Back to the end: the first is the longest due, but for a lazy one, behind which others are seconds late.
            self._pending.pop(each.sealed.id, None)
            self._pending[each.sealed.id] = (each, again_us)
            self._of.setdefault(each.doc, {})[each.sealed.id] = None

    def kept(self, envelopes: Iterable[bytes]) -> None:
        for each in envelopes:
            found = self._pending.pop(each, None)
            if found is not None:
                self._told.pop(each, None)
                of = self._of[found[0].doc]
                del of[each]
                if not of:
                    del self._of[found[0].doc]

    def forget(self, doc: DocId) -> None:
        """The document began a generation, whose root holds what these wrote."""
        self.kept(list(self._of.get(doc, ())))

    def of(self, doc: DocId) -> list[Admitted]:
        """Those of one document, in order of application."""
        return [self._pending[each][0] for each in self._of.get(doc, ())]

    def untold(self, envelopes: Sequence[Admitted]) -> list[Admitted]:
        return [each for each in envelopes if each.sealed.id not in self._told] if self._told else list(envelopes)

    def tell(self, envelopes: Sequence[Admitted]) -> None:
        """Their writer is content with memory: whoever watches hears of them now, and not again."""
        self._told.update({each.sealed.id: None for each in envelopes if each.sealed.id in self._pending})

    def overdue(self, now: Instant) -> list[Admitted]:
        due = self.deadline()
        if due is None or due > now.mono_us:
            return []
        return [each for each, again_us in self._pending.values() if again_us <= now.mono_us]

    def deadline(self) -> int | None:
        for _, again_us in self._pending.values():
            return again_us
        return None


def spread(lazy: Persist) -> list[Effect]:
    """What need not wait for a commit whose writer was content with memory, and last the commit itself."""
    waits = [each for each in lazy.then if isinstance(each, EnvelopesKept)]
    return [*(each for each in lazy.then if each not in waits), Persist(lazy.records, tuple(waits), lazily=True)]
