"""Acknowledged writes: durable before the answer, never missing where they were acknowledged, never lost anywhere.

The oracle reads changes by itself and asks no machine what overwrote what.
"""

from collections.abc import Sequence

import msgspec

from meshnode.crdt.envelope import doc_id_of
from meshnode.crdt.fields import RESERVED
from meshnode.crdt.store import StateStore, parsed_changes
from meshnode.kernel.effects import Effect
from meshnode.kernel.records import RecordKind
from meshnode.model.agent import KIND as AGENT
from meshnode.model.commands import AnyCommand, Apply, DeleteDocument, Drain, Resume, RunAgent, StopAgent
from meshnode.model.ids import DocId
from meshnode.model.manifest import NAMESPACE_DEFAULT
from meshnode.model.nodewish import KIND as NODE
from meshnode.model.views import AgentView, AnyView, AppliedView
from meshnode.node.effects import Store
from meshnode.node.inputs import CommandGiven, Input
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
    keys: tuple[bytes, ...]  # of the journal: all of the document as the answer will speak of it


class KeptWrites(Checker):
    """``acknowledged``: all of a run, for what has to be true at its end."""

    def __init__(self, world: World) -> None:
        super().__init__(world)
        self.acknowledged: list[Write] = []
        self.excused = 0  # destroyed by a flipped bit before anybody else had them
        self._asked: dict[tuple[str, int], DocId] = {}
        self._pending: dict[tuple[str, int], _Pending] = {}
        self._promised: dict[str, dict[DocId, tuple[bytes, ...]]] = {}
        self._written: dict[bytes, str] = {}  # id of every envelope that was ever written -> by whom
        self._judged: dict[tuple[str, int, DocId], tuple[bytes, ...]] = {}
        self._turn = 0

    # -- promises -----------------------------------------------------------------------------------------------------

    def asked(self, node: SimNode, number: int, command: AnyCommand) -> None:
        named = _named(command)
        if named is not None:
            self._asked[node.name, number] = doc_id_of(*named)

    def handled(self, node: SimNode, event: Input, effects: Sequence[Effect]) -> None:
        if not isinstance(event, CommandGiven):
            return
        named, store = _named(event.command), node.store
        if named is None or store is None:
            return
        doc = self._asked.pop((node.name, event.command_no))
        keys = [r.key for e in effects if isinstance(e, Store) for r in e.records if r.kind is RecordKind.ENVELOPE]
        change = next((key[len(doc) :] for key in reversed(keys) if key[len(doc) :] not in self._written), b"")
        if change:
            self._written[change] = node.name
        all_keys = tuple(doc + sealed.id for sealed in store.beyond(doc, {}))
        self._pending[node.name, event.command_no] = _Pending(doc, named[2], change, store.heads(doc), all_keys)

    def replied(self, node: SimNode, number: int, view: AnyView) -> None:
        pending = self._pending.pop((node.name, number), None)
        if pending is None or not isinstance(view, AppliedView | AgentView):
            return
        durable = node.disk.durable
        for key in pending.keys:
            if key not in durable and key not in node.lost_keys:
                said = view.action if isinstance(view, AppliedView) else view.state
                self.wrong(node, f"says {said} of {view.name} before it is on the disk")
        self.acknowledged.append(Write(node.name, pending.doc, pending.name, pending.change, pending.heads))
        self._promised.setdefault(node.name, {})[pending.doc] = pending.heads

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

    def stepped(self, node: SimNode) -> None:
        """One document a step, in turn; all of them every second."""
        promised = self._promised.get(node.name)
        if promised:
            self._turn += 1
            docs = list(promised)
            self._check(node, docs[self._turn % len(docs)])

    def look(self) -> None:
        for node in self.world.running():
            for doc in self._promised.get(node.name, {}):
                self._check(node, doc)
            self._check_genuine(node)

    def _check(self, node: SimNode, doc: DocId) -> None:
        store = node.store
        missing = store.missing(doc, self._promised[node.name][doc]) if store is not None else []
        if missing:
            self.wrong(node, f"no longer has {missing[0].hex()[:12]} of {doc.hex()[:12]}, which it acknowledged")

    def _check_genuine(self, node: SimNode) -> None:
        store = node.store
        if store is None:
            return
        for doc in store.docs():
            seen, heads = (node.name, node.life, doc), store.heads(doc)
            if self._judged.get(seen) == heads:
                continue
            self._judged[seen] = heads
            for sealed in store.beyond(doc, {}):
                author = next((n.name for n in self.world.nodes if sealed.author in n.identities), "a stranger")
                if self._written.get(sealed.id) != author:
                    self.wrong(node, f"holds a change of {store.names(doc)[2]} that {author} never wrote")

    def _excuse(self, node: SimNode, promised: dict[DocId, tuple[bytes, ...]]) -> None:
        """A flipped bit may take what only this disk held, and what stands on it until peers bring it again."""
        spoilt = {DocId(key[:16]): None for key in node.lost_keys if key[:16] in promised}
        for doc in spoilt:
            promised.pop(doc, None)
        others = [other.disk.durable for other in self.world.nodes if other is not node]
        lost = {key[16:]: None for key in node.lost_keys if not any(key in disk for disk in others)}
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
            for write in self.acknowledged:
                if node.store.missing(write.doc, write.heads):
                    self.wrong(node, f"never got what {write.node} acknowledged about {write.name}")
        for doc in dict.fromkeys(write.doc for write in self.acknowledged):
            for node in nodes:
                assert node.store is not None
                self._check_fields(node, node.store, doc)

    def _check_fields(self, node: SimNode, store: StateStore, doc: DocId) -> None:
        alive = _alive(store, doc)
        registers = store.fields(doc)
        values, siblings = registers.values(), registers.siblings()
        for key, expected in alive.items():
            if key in RESERVED:
                continue
            shown = dict.fromkeys([values.get(key), *(write.value for write in siblings.get(key, ()))])
            if list(shown) != [value for value in shown if value in expected] or len(shown) != len(expected):
                self.wrong(node, f"shows {list(shown)} for {key}, and nothing overwrote {list(expected)}")


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
