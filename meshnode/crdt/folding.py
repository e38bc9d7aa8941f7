"""From a generation to the root of the next one: a pure function of the frozen heads, the same bytes on every node."""

from collections.abc import Mapping, Sequence

from meshnode.crdt.fields import DELETED
from meshnode.crdt.history import Sealed
from meshnode.crdt.registers import Registers, Write, by_time
from meshnode.crdt.root import (
    LAYERS_MAX,
    ROOT_BYTES_MAX,
    VERSION,
    Root,
    Rooted,
    RootWrite,
    judge_bulk,
    judge_count,
    rooted,
)
from meshnode.crdt.seen import HORIZON_MS, Seen
from meshnode.kernel.hlc import COUNTER_BITS
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId

REMOVALS_MAX = 64
REMOVAL_BYTES_MAX = 16 * 1024  # of the envelopes that prove them


def context_of(before: Rooted | None, envelopes: Sequence[Sealed]) -> Seen:
    """What a state made of a root and these envelopes includes."""
    seen = before.root.context() if before is not None else Seen()
    for each in envelopes:
        seen.add(each.author, each.boot, each.hlc)
    return seen


def folded(
    doc: DocId,
    names: tuple[str, str, str],
    before: Rooted | None,
    heads: Sequence[bytes],
    state: tuple[Registers, Sequence[Sealed]],
    grave_ms: int = 0,
) -> Rooted:
    """The next root. ``state``: fields and envelopes at ``heads``. Raises ``RemoteError`` when it cannot be made."""
    registers, envelopes = state
    proofs = _Proofs(before, envelopes)
    context = context_of(before, envelopes).pruned()
    current = {key: _distinct(writes) for key, writes in sorted(registers.items())} if not grave_ms else {}
    removals = _remembered(current, proofs, max(context.values(), default=0))
    fields: list[tuple[str, list[RootWrite]]] = []
    for key, kept in current.items():
        if len(kept) > LAYERS_MAX:
            raise RemoteError("root-siblings", f"{len(kept)} values of {key[:60]!r} wait for somebody to choose")
        if not _is_removed(kept) or key in removals:
            fields.append((key, [proofs.proven(key, write) for write in kept]))
    kind, namespace, name = names
    generation, pinned = before.pin if before is not None else (0, b"")
    seen: list[tuple[bytes, int, int]] = [(author, boot, hlc) for (author, boot), hlc in context.items()]
    judge_bulk(proofs.envelopes())
    root = Root(
        VERSION, doc, kind, namespace, name, generation + 1, pinned, sorted(heads), fields, seen, proofs.envelopes(),
        grave_ms,
    )  # fmt: skip
    judge_count(root)
    made = rooted(root)
    if len(made.data) > ROOT_BYTES_MAX:
        raise RemoteError("root-size", f"{len(made.data)} bytes, the limit is {ROOT_BYTES_MAX}")
    return made


def deleted_ms(registers: Registers) -> int:
    """When a deleted document was deleted, by the newest deletion; 0: it is not deleted, or buried already."""
    if not registers.is_deleted():
        return 0
    deletions = [write for write in registers.writes(DELETED) if write.value is not None]
    return max((write.at >> 16 for write in deletions), default=0)


def _remembered(current: Mapping[str, Sequence[Write]], proofs: "_Proofs", newest: int) -> dict[str, None]:
    """Removed fields that a root still names: the root of another cut may win that has the value and not the removal.

    The newest ones, no older than the horizon; of all others ``seen`` alone tells, as it does of what was overwritten.
    """
    oldest = newest - (HORIZON_MS << COUNTER_BITS)
    removed = [(kept[0].hlc, kept[0].origin, key) for key, kept in current.items() if _is_removed(kept)]
    found: dict[str, None] = {}
    envelopes: dict[bytes, None] = {}
    room = REMOVAL_BYTES_MAX
    for hlc, _, key in sorted(removed, reverse=True)[:REMOVALS_MAX]:
        data = proofs.envelope(key, current[key][0])
        cost = 0 if data in envelopes else len(data)
        if hlc >= oldest and cost <= room:
            found[key] = envelopes[data] = None
            room -= cost
    return found


def _is_removed(kept: Sequence[Write]) -> bool:
    return len(kept) == 1 and kept[0].value is None


def _distinct(writes: Sequence[Write]) -> list[Write]:
    """One write for each value, the newest; by time, whatever the order in this generation is."""
    newest = sorted(writes, key=by_time, reverse=True)
    first: dict[str | None, Write] = {}
    for write in newest:
        first.setdefault(write.value, write)
    return list(first.values())


class _Proofs:
    """Numbers the envelopes that writes came in, in the order in which they are first named."""

    def __init__(self, before: Rooted | None, envelopes: Sequence[Sealed]) -> None:
        self._by_change: Mapping[bytes, bytes] = {change: each.data for each in envelopes for change in each.hashes}
        self._before: dict[tuple[str, bytes], bytes] = {}
        if before is not None:
            for key, writes in before.root.fields:
                for write in writes:
                    self._before[key, write.origin] = before.root.proofs[write.proof]
        self._numbers: dict[bytes, int] = {}

    def proven(self, key: str, write: Write) -> RootWrite:
        data = self.envelope(key, write)
        number = self._numbers.setdefault(data, len(self._numbers))
        return RootWrite(write.value, write.author, write.boot, write.at, write.hlc, write.origin, number)

    def envelope(self, key: str, write: Write) -> bytes:
        """The signed one that brought this write."""
        return self._by_change.get(write.change) or self._before[key, write.origin]

    def envelopes(self) -> list[bytes]:
        return list(self._numbers)
