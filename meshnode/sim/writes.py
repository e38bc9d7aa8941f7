"""Acknowledged writes: durable before the answer, never missing where they were acknowledged, never lost anywhere.

The oracle reads changes by itself and asks no machine what overwrote what: within a generation from the changes that
are there, over generations from what was noted when they were made (``lineage.py``).
"""

from collections.abc import Sequence

import msgspec

from meshnode.crdt.envelope import UNROOTED, Pin, doc_id_of
from meshnode.crdt.fields import DELETED, RESERVED, STAMP
from meshnode.crdt.history import Sealed
from meshnode.crdt.root import Rooted
from meshnode.crdt.shelf import DOC_BYTES, piece_records
from meshnode.crdt.store import StateStore, parsed_changes
from meshnode.kernel.effects import Effect
from meshnode.kernel.records import ENVELOPE_KEY_BYTES, RecordKind
from meshnode.model.agent import KIND as AGENT
from meshnode.model.commands import AnyCommand, Apply, DeleteDocument, Drain, Resume, RunAgent, StopAgent
from meshnode.model.document_views import AppliedView
from meshnode.model.ids import DocId
from meshnode.model.manifest import NAMESPACE_DEFAULT
from meshnode.model.nodewish import KIND as NODE
from meshnode.model.views import AgentView, AnyView
from meshnode.node.effects import Store
from meshnode.node.inputs import CommandGiven, Input
from meshnode.sim.lineage import Lineage
from meshnode.sim.node import SimNode
from meshnode.sim.watching import Checker
from meshnode.sim.world import World


class Write(msgspec.Struct, frozen=True):
    """One acknowledged command. ``change``: what it wrote, empty if there was nothing to write."""

    node: str
    doc: DocId
    name: str
    change: bytes
    heads: tuple[bytes, ...]


class _Pending(msgspec.Struct, frozen=True):
    doc: DocId
    name: str
    change: bytes
    heads: tuple[bytes, ...]
    pin: Pin
    keys: tuple[bytes, ...]  # of the journal: all of the document as the answer will speak of it


class _Promise(msgspec.Struct, frozen=True):
    """What a node has said it holds: everything up to these heads of this generation."""

    pin: Pin
    heads: tuple[bytes, ...]


class KeptWrites(Checker):
    """``acknowledged``: all of a run, for what has to be true at its end."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.acknowledged: list[Write] = []
        self.excused = 0  # destroyed by a flipped bit before anybody else had them
        self.lineage = Lineage()
        self.generations = 0  # the highest one that any document reached
        self._asked: dict[tuple[str, int], DocId] = {}
        self._pending: dict[tuple[str, int], _Pending] = {}
        self._promised: dict[str, dict[DocId, _Promise]] = {}
        self._written: dict[bytes, str] = {}  # id of every envelope that was ever written -> by whom
        self._judged: dict[tuple[str, int, DocId], tuple[bytes, ...]] = {}
        self._summed: dict[tuple[str, int, DocId], object] = {}
        self._carried: dict[tuple[str, int], int] = {}  # by node and life: how many writes it carried
        self._turn = 0

    # -- promises -----------------------------------------------------------------------------------------------------

    def asked(self, node: SimNode, number: int, command: AnyCommand) -> None:
        named = _named(command)
        if named is not None:
            self._asked[node.name, number] = doc_id_of(*named)

    def handled(self, node: SimNode, event: Input, effects: Sequence[Effect]) -> None:
        named, store = _named(event.command) if isinstance(event, CommandGiven) else None, node.store
        if not isinstance(event, CommandGiven) or named is None or store is None:
            self._learn_carried(node, effects)
            return
        doc = self._asked.pop((node.name, event.command_no))
        keys = [r.key for e in effects if isinstance(e, Store) for r in e.records if r.kind is RecordKind.ENVELOPE]
        mine = [key[len(doc) :] for key in keys if key.startswith(doc) and len(key) == ENVELOPE_KEY_BYTES]
        change = next((each for each in reversed(mine) if each not in self._written), b"")
        if change:
            self._written[change] = node.name
            self.lineage.wrote(store, doc, change)
        all_keys = tuple(doc + sealed.id for sealed in store.beyond(doc, {}))
        pending = _Pending(doc, named[2], change, store.heads(doc), store.pin(doc), all_keys)
        self._pending[node.name, event.command_no] = pending

    def _learn_carried(self, node: SimNode, effects: Sequence[Effect]) -> None:
        """Under which names writes go on, before a root sums up the envelopes that say so."""
        keys = [r.key for e in effects if isinstance(e, Store) for r in e.records if r.kind is RecordKind.ENVELOPE]
        docs = dict.fromkeys(DocId(key[:DOC_BYTES]) for key in keys if len(key) == ENVELOPE_KEY_BYTES)
        for doc in docs:
            if node.store is not None and node.store.pin(doc) != UNROOTED:
                self.lineage.read(node.store, doc)

    def _learn_woken(self, node: SimNode) -> None:
        """The same of what a timer let it carry: no input was handled, and nothing may be stored for a while."""
        if node.core is None or node.store is None:
            return
        place, carried = (node.name, node.life), node.core.documents.counters["carried"]
        if carried != self._carried.get(place, 0):
            self._carried[place] = carried
            for doc in node.store.docs():
                if node.store.pin(doc) != UNROOTED:
                    self.lineage.read(node.store, doc)

    def signed_twice(self, node: SimNode, store: StateStore, sealed: Sealed, doc: DocId) -> None:
        """One of two that a member signed under one number: it is his, and promised to nobody."""
        self._written[sealed.id] = node.name
        self.lineage.signed(store, doc, sealed)

    def replied(self, node: SimNode, number: int, view: AnyView) -> None:
        pending = self._pending.pop((node.name, number), None)
        if pending is None or not isinstance(view, AppliedView | AgentView):
            return
        if not _is_durable(node, pending):
            said = view.action if isinstance(view, AppliedView) else view.state
            self.wrong(node, f"says {said} of {view.name} before it is on the disk")
        self.acknowledged.append(Write(node.name, pending.doc, pending.name, pending.change, pending.heads))
        self._promise(node, pending)

    def _promise(self, node: SimNode, pending: _Pending) -> None:
        self._promised.setdefault(node.name, {})[pending.doc] = _Promise(pending.pin, pending.heads)

    def died(self, node: SimNode) -> None:
        for key in [key for key in self._pending if key[0] == node.name]:
            del self._pending[key]
        for key in [key for key in self._asked if key[0] == node.name]:
            del self._asked[key]

    # -- safety -------------------------------------------------------------------------------------------------------

    def started(self, node: SimNode) -> None:
        promised = self._promised.get(node.name, {})
        if node.lost_keys:
            self._excuse(node, promised)
        for doc in promised:
            self._check(node, doc)
            self._check_summed(node, doc)

    def stepped(self, node: SimNode) -> None:
        """One document a step, in turn; all of them every second."""
        self._learn_woken(node)
        promised = self._promised.get(node.name)
        if promised:
            self._turn += 1
            docs = list(promised)
            self._check(node, docs[self._turn % len(docs)])

    def look(self) -> None:
        for node in self.world.running():
            for doc in self._promised.get(node.name, {}):
                self._check(node, doc)
                self._check_summed(node, doc)
            self._check_genuine(node)

    def _check(self, node: SimNode, doc: DocId) -> None:
        """In the generation of its promise a node has every change it spoke of."""
        store, promise = node.store, self._promised[node.name][doc]
        if store is None or store.pin(doc) > promise.pin:
            return
        missing = store.missing(doc, promise.heads)
        if missing:
            self.wrong(node, f"no longer has {missing[0].hex()[:12]} of {doc.hex()[:12]}, which it acknowledged")

    def _check_summed(self, node: SimNode, doc: DocId) -> None:
        """In a later one every write is current, overwritten by who had seen it, or waits to be carried."""
        store, core, promise = node.store, node.core, self._promised[node.name][doc]
        if store is None or core is None or store.pin(doc) <= promise.pin:
            return
        place, state = (node.name, node.life, doc), (store.pin(doc), store.heads(doc), promise)
        if self._summed.get(place) == state:
            return
        self._summed[place] = state
        found = self.lineage.accounted(store, doc, core.documents.strays(doc))
        for change in promise.heads:
            for name in self.lineage.names(doc, change):
                if name not in found:
                    self.wrong(node, f"no longer has {name[1]} of {store.names(doc)[2]}, which it acknowledged")

    def _check_genuine(self, node: SimNode) -> None:
        store = node.store
        if store is None:
            return
        for doc in store.docs():
            seen, heads = (node.name, node.life, doc), store.heads(doc)
            if self._judged.get(seen) == heads:
                continue
            self._judged[seen] = heads
            self.generations = max(self.generations, store.pin(doc)[0])
            for sealed in store.beyond(doc, {}):
                author = next((n.name for n in self.world.nodes if sealed.author in n.identities), "a stranger")
                if self._written.get(sealed.id) != author and not self._is_carried(doc, sealed):
                    self.wrong(node, f"holds a change of {store.names(doc)[2]} that {author} never wrote")
            self._check_root(node, store, doc)

    def _is_carried(self, doc: DocId, sealed: Sealed) -> bool:
        """Writes of earlier generations, made again as they were: nobody is asked to do that."""
        carried = {(each.change, each.key): each.origin for each in sealed.carried}
        for parsed in parsed_changes(sealed):
            for op in parsed.ops:
                if op.key == STAMP:
                    continue
                if op.key == DELETED:
                    if not self.lineage.is_true_deletion(doc, op.value, sealed.hlc):
                        return False
                    continue
                origin = carried.get((parsed.hash, op.key))
                if origin is None or not self.lineage.is_true(doc, (origin, op.key), op.value):
                    return False
        return sealed.pin != UNROOTED

    def _check_root(self, node: SimNode, store: StateStore, doc: DocId) -> None:
        """A root says nothing that nobody wrote."""
        rooted = store.rooted(doc)
        for key, writes in rooted.root.fields if rooted is not None else ():
            for write in writes:
                if key not in RESERVED and not self.lineage.is_true(doc, (write.origin, key), write.value):
                    self.wrong(node, f"has a root of {store.names(doc)[2]} with {key} as nobody wrote it")

    def _excuse(self, node: SimNode, promised: dict[DocId, _Promise]) -> None:
        """A flipped bit may take what only this disk held, and what stands on it until peers bring it again."""
        spoilt = {DocId(key[:16]): None for key in node.lost_keys if key[:16] in promised}
        for doc in spoilt:
            promised.pop(doc, None)
        others = [other.disk.durable for other in self.world.nodes if other is not node]
        # What a lost root summed up may be nowhere else, whoever has a root of that document too.
        lost = [
            key
            for key in node.lost_keys
            if key[:16] in spoilt and (len(key) != ENVELOPE_KEY_BYTES or not any(key in disk for disk in others))
        ]
        if not lost:
            return
        kept = [write for write in self.acknowledged if write.node != node.name or write.doc not in spoilt]
        self.excused += len(self.acknowledged) - len(kept)
        self.acknowledged = kept

    # -- at rest ------------------------------------------------------------------------------------------------------

    def finish(self) -> None:
        """Every acknowledged write is in force, a sibling, or overwritten by somebody who had seen it."""
        nodes = self.world.running()
        for node in nodes:
            assert node.store is not None
            found: dict[DocId, dict[tuple[bytes, str], None]] = {}
            for write in self.acknowledged:
                if node.store.pin(write.doc) == UNROOTED:
                    if node.store.missing(write.doc, write.heads):
                        self.wrong(node, f"never got what {write.node} acknowledged about {write.name}")
                    continue
                if write.doc not in found:
                    found[write.doc] = self.lineage.accounted(node.store, write.doc)
                for name in self.lineage.names(write.doc, write.change):
                    if name not in found[write.doc]:
                        self.wrong(node, f"lost {name[1]} of {write.name}, which {write.node} acknowledged")
        for doc in dict.fromkeys(write.doc for write in self.acknowledged):
            for node in nodes:
                assert node.store is not None
                self._check_fields(node, node.store, doc)

    def _check_fields(self, node: SimNode, store: StateStore, doc: DocId) -> None:
        if store.pin(doc) != UNROOTED:
            return  # what its root summed up is accounted for write by write
        alive = _alive(store, doc)
        registers = store.fields(doc)
        values, siblings = registers.values(), registers.siblings()
        for key, expected in alive.items():
            if key in RESERVED:
                continue
            shown = dict.fromkeys([values.get(key), *(write.value for write in siblings.get(key, ()))])
            if list(shown) != [value for value in shown if value in expected] or len(shown) != len(expected):
                self.wrong(node, f"shows {list(shown)} for {key}, and nothing overwrote {list(expected)}")


def _is_durable(node: SimNode, pending: _Pending) -> bool:
    """Every envelope is on the disk, or the root is that has summed it up since."""
    durable, store = node.disk.durable, node.store
    rooted = store.rooted(pending.doc) if store is not None else None
    if rooted is not None and rooted.pin >= pending.pin:
        is_kept = all(piece in durable for piece in _pieces(pending.doc, rooted)) or pending.doc in node.lost_keys
        if rooted.pin == pending.pin and not is_kept:
            return False
        if rooted.pin > pending.pin and is_kept:
            return True
    return all(key in durable or key in node.lost_keys for key in pending.keys)


def _pieces(doc: DocId, rooted: Rooted) -> list[bytes]:
    """What of a root lies on the disk in one piece."""
    return [record.body for record in piece_records(doc, rooted)] or [rooted.data]


def _alive(store: StateStore, doc: DocId) -> dict[str, dict[str | None, None]]:
    """By field: every value no later write has named as replaced. Read from the changes alone."""
    written: dict[tuple[str, int, bytes], str | None] = {}
    replaced: dict[tuple[str, int, bytes], None] = {}
    for sealed in store.beyond(doc, {}):
        for change in parsed_changes(sealed):
            for op in change.ops:
                written[op.key, op.counter, change.actor] = op.value
                replaced.update({(op.key, counter, actor): None for counter, actor in op.preds})
    alive: dict[str, dict[str | None, None]] = {}
    for (key, counter, actor), value in written.items():
        if (key, counter, actor) not in replaced:
            alive.setdefault(key, {})[value] = None
    return alive


def _named(command: AnyCommand) -> tuple[str, str, str] | None:
    match command:
        case Apply(manifest=manifest):
            metadata = manifest["metadata"]
            return str(manifest["kind"]), str(metadata.get("namespace", NAMESPACE_DEFAULT)), str(metadata["name"])
        case DeleteDocument(kind=kind, namespace=namespace, name=name):
            return kind, namespace, name
        case RunAgent(name=name) | StopAgent(name=name):
            return AGENT, NAMESPACE_DEFAULT, name
        case Drain(node=name) | Resume(node=name):
            return NODE, NAMESPACE_DEFAULT, name
        case _:
            return None
