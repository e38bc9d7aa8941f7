"""Writes that a new root does not include: found by what it says it has seen, and written again on top of it.

A stray replaces those writes of the root that it had replaced before, and is a sibling of those it had not seen. No
history is needed for that, neither ours nor the root's: (author, boot, time) decides what anybody knew.

Whoever began the generation a little earlier may hold a write as a stray that ours has replaced since. So a stray takes
along what it replaced after the root's heads: who carries it names those too, and then nobody brings them back.
"""

from collections.abc import Callable, Iterable, Sequence
from itertools import accumulate

import msgspec

from meshnode.crdt import envelope, usual
from meshnode.crdt.change import OpId, ParsedChange
from meshnode.crdt.encoding import Setting, written
from meshnode.crdt.envelope import CHANGES_MAX, Carry
from meshnode.crdt.fields import DELETED, RESERVED, STAMP
from meshnode.crdt.gate import Admitted
from meshnode.crdt.history import Sealed
from meshnode.crdt.registers import FIELDS_EVER_MAX, Registers, Write
from meshnode.crdt.root import Rooted, RootWrite
from meshnode.crdt.seen import Seen
from meshnode.crdt.store import StateStore, parsed_changes
from meshnode.kernel.journal import BODY_BYTES_MAX
from meshnode.model.ids import DocId, NodeId

STRAYS_MAX = 4096  # of one document; it had at most as many fields
STRAYS_BYTES_MAX = BODY_BYTES_MAX - 128 * 1024  # beside a root and who attests it, in one record of the journal
_PORTION_BYTES = 24 * 1024  # of strays, in an envelope: there is room for them beside as many heads as may be
_STRAY_BYTES, _OVER_BYTES = 128, 36  # that one takes beside its field, twice, and its value
_NAMED_BYTES = 80  # that each takes which one names as replaced, beside its field
REPLACED_MAX = 1024  # of one document, the newest


class Stray(msgspec.Struct, frozen=True, array_like=True):
    """One write. ``over``: origins of the writes of that field which its state had replaced: of those the root shows,
    and of those that the root has not seen either, by whoever they may be carried."""

    key: str
    value: str | None
    author: bytes
    boot: int
    at: int
    hlc: int
    origin: bytes
    over: list[bytes]

    @property
    def name(self) -> tuple[bytes, str]:
        """The same for every holder of this write."""
        return self.origin, self.key


def strays_of(
    fields: Registers,
    seen: Seen,
    rooted: Rooted,
    stranded: Sequence[Admitted] = (),
    envelopes: Sequence[Sealed] = (),
) -> list[Stray]:
    """What a state holds that a root does not include.

    ``envelopes``: those of the state, in causal order. ``stranded``: envelopes that never got into it, because the disk
    lost what they stand on. ``seen`` knows nothing of them: of what was lost their author's times would say that it was
    overwritten. They count for what they name.
    """
    named: dict[tuple[str, bytes], None] = {}
    if stranded:
        fields, named = _with_stranded(fields, stranded, rooted)
    context = rooted.root.context()
    there = dict(rooted.root.fields)
    replaced = _Replaced(envelopes, stranded, context)
    found: list[Stray] = []
    for key, writes in sorted(fields.items()):
        base = there.get(key, [])
        lost = [write for write in writes if not _is_known(write, base, context)]
        mine = {write.origin: None for write in writes}
        over = [
            each.origin
            for each in base
            if each.origin not in mine and (_has_seen(seen, each) or (key, each.origin) in named)
        ]
        found += [
            Stray(key, w.value, w.author, w.boot, w.at, w.hlc, w.origin, [*over, *replaced.by(key, w)]) for w in lost
        ]  # fmt: skip
    return found if any(each.key != STAMP for each in found) else []


class _Late(msgspec.Struct, frozen=True, gc=False):
    """A write that the root has not seen. ``origins``: its own last, behind those it names as replaced."""

    origins: tuple[bytes, ...]
    preds: Sequence[OpId]


class _Replaced:
    """What the writes of a state replaced after the heads of a root. Of a field nobody wrote twice there is nothing."""

    def __init__(self, envelopes: Sequence[Sealed], stranded: Sequence[Admitted], context: Seen) -> None:
        self._late: dict[tuple[str, OpId], _Late] = {}
        self._room = REPLACED_MAX
        for each in envelopes:
            if not context.includes(each.author, each.boot, each.hlc):
                self._add(parsed_changes(each), each)
        for each in stranded:
            self._add(each.changes, each.sealed)

    def _add(self, changes: Sequence[ParsedChange], sealed: Sealed) -> None:
        named: dict[tuple[bytes, str], list[bytes]] = {}
        for carry in sealed.carried:
            named.setdefault((carry.change, carry.key), []).append(carry.origin)
        for change in changes:
            for op in change.ops:
                if op.key not in RESERVED:
                    origins = tuple(named.get((change.hash, op.key), (change.hash,)))
                    self._late[op.key, (op.counter, change.actor)] = _Late(origins, op.preds)

    def by(self, key: str, write: Write) -> list[bytes]:
        """Origins of what it replaced, the newest first, and what those had replaced."""
        found: dict[bytes, None] = {}
        known, ops = {write.op: None}, [write.op]
        for op in ops:  # it grows meanwhile
            late = self._late.get((key, op))
            if late is not None:
                found.update(dict.fromkeys(reversed(late.origins)))
                ops += [each for each in late.preds if each not in known]
                known.update(dict.fromkeys(late.preds))
        found.pop(write.origin, None)
        kept = list(found)[: self._room]
        self._room -= len(kept)
        return kept


def _with_stranded(
    fields: Registers, stranded: Sequence[Admitted], rooted: Rooted
) -> tuple[Registers, dict[tuple[str, bytes], None]]:
    """The state as if they stood in it, and which writes of the root they name as replaced: field and origin."""
    state, numbers = fields.copy(), _numbers(rooted)
    most = FIELDS_EVER_MAX + sum(len(change.ops) for each in stranded for change in each.changes)
    named: dict[tuple[str, bytes], None] = {}
    for each in sorted(stranded, key=lambda each: (each.changes[0].start_op, each.sealed.id)):  # causal order
        ops = [op for change in each.changes for op in change.ops]
        state.take(state.fresh(each.changes, each.sealed, most))
        origins = [(op.key, numbers.get((op.key, replaced))) for op in ops for replaced in op.preds]
        named.update({(key, origin): None for key, origin in origins if origin is not None})
    return state, named


def _numbers(rooted: Rooted) -> dict[tuple[str, OpId], bytes]:
    """By field and operation number: the origin of each write that the envelopes of a root made."""
    found: dict[tuple[str, OpId], bytes] = {}
    for data in rooted.root.proofs:
        proof = envelope.reread(data).envelope
        carried = {(each.change, each.key): each.origin for each in proof.carried}
        for parsed in [usual.parse(chunk)[0] for chunk in proof.changes]:
            for op in parsed.ops:
                origin = carried.get((parsed.hash, op.key), parsed.hash)
                found[op.key, (op.counter, parsed.actor)] = origin
    return found


def _is_known(write: Write, base: Iterable[RootWrite], context: Seen) -> bool:
    return context.includes(write.author, write.boot, write.at) or any(each.origin == write.origin for each in base)


def _has_seen(seen: Seen, write: RootWrite) -> bool:
    return seen.includes(NodeId(write.author), write.boot, write.at)


def left_of(strays: Iterable[Stray], rooted: Rooted) -> list[Stray]:
    """Strays of an earlier root that this one does not include either."""
    context, there = rooted.root.context(), dict(rooted.root.fields)
    left = [
        each
        for each in strays
        if not context.includes(NodeId(each.author), each.boot, each.at)
        and all(write.origin != each.origin for write in there.get(each.key, ()))
    ]
    return left if any(each.key != STAMP for each in left) else []


def kept_of(strays: Sequence[Stray]) -> list[Stray]:
    """Each once, none that another one replaced, and of more than can be kept the first."""
    replaced = {(origin, each.key): None for each in strays for origin in each.over}
    found = list({each.name: each for each in strays if each.name not in replaced}.values())[:STRAYS_MAX]
    sizes = accumulate(map(_size_of, found))
    return [each for each, size in zip(found, sizes, strict=True) if size <= STRAYS_BYTES_MAX]


def not_here(store: StateStore, doc: DocId, strays: Sequence[Stray]) -> list[Stray]:
    """Those that nobody has carried into this generation yet, whatever became of them since."""
    if not strays:
        return []
    carried = {(carry.origin, carry.key): None for sealed in store.beyond(doc, {}) for carry in sealed.carried}
    return [each for each in strays if each.name not in carried]


class Carrying(msgspec.Struct, frozen=True):
    """One change that writes strays again, at this time. ``size``: bytes in its envelope, at most."""

    change: ParsedChange
    stamp: int
    carried: list[Carry]
    size: int


class _Layer(msgspec.Struct):
    """Strays that one change writes, no two of a field."""

    strays: list[Stray] = []
    size: int = 0


def carrying_changes(
    store: StateStore, doc: DocId, actor: bytes, strays: Sequence[Stray], stamp: Callable[[], int]
) -> list[Carrying]:
    """One chain of changes on top of all heads, each at another ``stamp``."""
    fields = store.fields(doc)
    found: list[Carrying] = []
    deps, seq = store.heads(doc), store.clock(doc).get(actor, 0) + 1
    start_op = store.max_op(doc, deps) + 1
    over = [origin for stray in strays if stray.key == STAMP for origin in stray.over]
    rooted = store.rooted(doc)
    shown = {} if rooted is None else {key: [w.origin for w in writes] for key, writes in rooted.root.fields}
    for layer in _layers(strays):
        at = stamp()
        settings = _settings(fields, layer.strays, at, over, found[-1].change if found else None)
        made = written(actor, seq + len(found), start_op, deps, settings)
        carried = [
            Carry(made.hash, stray.key, origin, min(stray.hlc, at))
            for stray in layer.strays
            if stray.key not in RESERVED
            for origin in (*_named(stray, shown.get(stray.key, ())), stray.origin)
        ]
        found.append(Carrying(made, at, carried, layer.size))
        deps, start_op = (made.hash,), made.max_op + 1
    return found


def _named(stray: Stray, shown: Sequence[bytes]) -> list[bytes]:
    """Writes that it replaced and the root does not show: nobody is to carry them. As many as leave it in its portion;
    of a write that several rows name the last one says where it comes from (``Registers.fresh``)."""
    room = max(0, _PORTION_BYTES - _size_of(stray)) // _named_bytes(stray)
    return [origin for origin in stray.over if origin not in shown][:room]


def _named_bytes(stray: Stray) -> int:
    return _NAMED_BYTES + len(stray.key.encode())


def portions(chain: Sequence[Carrying]) -> list[list[Carrying]]:
    """By the envelopes that they go in."""
    found: list[list[Carrying]] = []
    room = 0
    for each in chain:
        if each.size > room or len(found[-1]) >= CHANGES_MAX:
            found.append([])
            room = _PORTION_BYTES
        found[-1].append(each)
        room -= each.size
    return found


def _layers(strays: Sequence[Stray]) -> list[_Layer]:
    """By the order in which several strays of one field come; reserved fields go with the first."""
    layers: list[_Layer] = []
    key, at = "", 0
    for stray in sorted(strays, key=lambda each: (each.key, each.hlc, each.origin)):
        if stray.key == STAMP:
            continue
        key, at = stray.key, at + 1 if stray.key == key else 0
        size = _size_of(stray)
        size = max(size, min(_PORTION_BYTES, size + len(stray.over) * _named_bytes(stray)))
        while at < len(layers) and layers[at].size + size > _PORTION_BYTES:
            at += 1
        if at == len(layers):
            layers.append(_Layer())
        layers[at].strays.append(stray)
        layers[at].size += size
    return layers


def _size_of(stray: Stray) -> int:
    text = 2 * len(stray.key.encode()) + len((stray.value or "").encode())
    return text + _STRAY_BYTES + _OVER_BYTES * len(stray.over)


def _settings(
    fields: Registers, layer: Sequence[Stray], stamp: int, over: Sequence[bytes], before: ParsedChange | None
) -> list[Setting]:
    settings = [_setting(fields, stray, stamp) for stray in layer]
    if before is None:
        preds = [write.op for write in fields.writes(STAMP) if write.origin in over]
    else:
        preds = [(op.counter, before.actor) for op in before.ops if op.key == STAMP]
    settings.append(Setting(STAMP, str(stamp), tuple(sorted(preds))))
    return sorted(settings, key=lambda each: each.key)


def _setting(fields: Registers, stray: Stray, stamp: int) -> Setting:
    preds = tuple(sorted(write.op for write in fields.writes(stray.key) if write.origin in stray.over))
    if stray.key == DELETED and stray.value is not None:
        return Setting(DELETED, str(stamp), preds)
    return Setting(stray.key, stray.value, preds)
