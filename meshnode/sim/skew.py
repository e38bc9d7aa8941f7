"""Schema skew: an older release writes documents of which a newer one has fields that it does not know.

While a machine runs an older release its kinds lack the newest field, its people do not write it, and whatever they do
write, it stays.
"""

from collections.abc import Sequence

from meshnode.crdt import envelope, usual
from meshnode.kernel.effects import Effect
from meshnode.kernel.records import ENVELOPE_KEY_BYTES, Record, RecordKind
from meshnode.model.ids import DocId
from meshnode.node.effects import Store
from meshnode.node.inputs import Input
from meshnode.sim.node import SimNode
from meshnode.sim.older import NEWEST
from meshnode.sim.watching import Checker
from meshnode.sim.world import World

_DIGEST_BYTES = 8  # before an envelope in its record
_DOC_BYTES = 16


class KeepsUnknown(Checker):
    """What an older release writes touches no field that it does not know. ``kept``: writes that might have."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.kept = 0

    def handled(self, node: SimNode, event: Input, effects: Sequence[Effect]) -> None:  # noqa: ARG002 - of a watcher
        if not node.is_older or node.core is None:
            return
        for effect in effects:
            for record in effect.records if isinstance(effect, Store) else ():
                if record.kind is RecordKind.ENVELOPE and len(record.key) == ENVELOPE_KEY_BYTES and record.body:
                    self._check(node, record)

    def _check(self, node: SimNode, record: Record) -> None:
        written = envelope.reread(record.body[_DIGEST_BYTES:]).envelope
        assert node.core is not None
        if written.author != node.node or written.boot != node.core.boot:
            return
        carried = {(each.change, each.key): None for each in written.carried}
        for chunk in written.changes:
            parsed, _ = usual.parse(chunk)
            for op in parsed.ops:
                if op.key.startswith(f"spec.{NEWEST}") and (parsed.hash, op.key) not in carried:
                    self.wrong(node, f"runs an older release and writes {op.key} of {written.name}: {op.value}")
        store = node.store
        values = store.fields(DocId(record.key[:_DOC_BYTES])).values() if store is not None else {}
        self.kept += any(key.startswith(f"spec.{NEWEST}") and value is not None for key, value in values.items())
