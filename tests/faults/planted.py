"""Planted faults: each wraps one port, so that a checker can be shown to notice what would happen without it.

They live here and are not in the wheel: the product has no switch that makes it lie.
"""

from collections.abc import Callable
from dataclasses import replace

from meshnode.checkpoints.rules import Rules
from meshnode.crdt.gate import Admitted
from meshnode.crdt.store import StateStore
from meshnode.daemon.wiring import AS_BUILT, Adapt
from meshnode.kernel.journal import HEADER_BYTES, Disk
from meshnode.model.ids import DocId, NodeId
from meshnode.node.config import NodePorts
from tests.faults.rules import DoubleCount, DropMerge, LoseAck, NeverYields, StaleRestore


class Gullible:
    """A verifier that believes every signature."""

    def verify(self, public_key: bytes, context: str, body: bytes, signature: bytes) -> bool:
        return True


class ForgetfulDisk:
    """A disk that says yes to every write after the header and keeps none."""

    def __init__(self, disk: Disk) -> None:
        self._disk = disk

    def read(self) -> bytes:
        return self._disk.read()[:HEADER_BYTES]

    def append(self, data: bytes) -> None:
        pass

    def sync(self) -> None:
        pass

    def replace(self, data: bytes) -> None:
        self._disk.replace(data[:HEADER_BYTES])

    def truncate(self, length: int) -> None:
        pass


class OneSided:
    """A document store that loses what others wrote to a document which exists here already."""

    def __init__(self, store: StateStore, me: NodeId) -> None:
        self._store, self._me = store, me

    def __contains__(self, doc: DocId) -> bool:
        return doc in self._store

    def __len__(self) -> int:
        return len(self._store)

    def __getattr__(self, name: str) -> object:
        """All but ``apply`` is the real store's."""
        return getattr(self._store, name)

    def apply(self, admitted: Admitted) -> None:
        if admitted.sealed.author == self._me or admitted.doc not in self._store:
            self._store.apply(admitted)


def forged_record(ports: NodePorts) -> NodePorts:
    return replace(ports, verifier=Gullible())


def drop_documents(ports: NodePorts) -> NodePorts:
    make = ports.store
    return replace(ports, store=lambda: OneSided(make(), ports.signer.node))


def ruled(rules: Rules) -> Callable[[NodePorts], NodePorts]:
    return lambda ports: replace(ports, state_rules=rules)


def two_owners(ports: NodePorts) -> NodePorts:
    return replace(ports, scheduler_rules=NeverYields())


PORTS: dict[str, Callable[[NodePorts], NodePorts]] = {
    "forged-record": forged_record,
    "drop-documents": drop_documents,
    "double-count": ruled(DoubleCount()),
    "lose-ack": ruled(LoseAck()),
    "stale-restore": ruled(StaleRestore()),
    "drop-merge": ruled(DropMerge()),
    "two-owners": two_owners,
}
DISKS: dict[str, Callable[[Disk], Disk]] = {"lost-write": ForgetfulDisk}


def adapt(fault: str) -> Adapt:
    """The wiring of a daemon with one fault planted. Raises KeyError for a fault nobody knows."""
    if fault not in PORTS and fault not in DISKS:
        raise KeyError(fault)
    return Adapt(ports=PORTS.get(fault, AS_BUILT.ports), disk=DISKS.get(fault, AS_BUILT.disk))
