"""What a node is told about itself at start. The daemon fills it from disk, the simulator from a scenario."""

from collections.abc import Callable
from dataclasses import dataclass, field

from meshnode.checkpoints.rules import Rules as StateRules
from meshnode.crdt.config import DocumentsConfig
from meshnode.crdt.kinds import OURS
from meshnode.crdt.store import StateStore
from meshnode.kernel.ports import Signer, Verifier
from meshnode.links.carriage import RelayConfig
from meshnode.model.ids import MeshId, NodeId, NodeName, Region
from meshnode.scheduler.rules import SchedulerRules
from meshnode.security.bundle import Bundle
from meshnode.security.clock import MeshClock
from meshnode.wire.codec import WIRE, Codec


@dataclass(frozen=True, kw_only=True, slots=True)
class NodeConfig:
    """Facts and settings of one start of one node."""

    mesh: MeshId
    name: NodeName
    node: NodeId
    region: Region
    bundle: Bundle
    bundle_bytes: bytes
    member: bytes  # this node's own admin-signed member record
    endpoints: tuple[tuple[str, int], ...] = ()  # where peers can dial this node
    seeds: tuple[tuple[str, int], ...] = ()
    profile: str = "default"
    relay: RelayConfig = RelayConfig()  # what it carries if its profile is that of a relay
    whole_mesh_max: int = 64  # members up to which all nodes hold all facts of the mesh
    run_id: bytes  # 8 bytes, new at every process start
    seed: bytes  # of all luck in the core
    certificate_sha256: str = ""
    certificate_from_ms: int = 0
    certificate_expires_ms: int = 0
    root_sha256: str = ""
    documents: DocumentsConfig = DocumentsConfig(kinds=OURS)
    notes: tuple[str, ...] = ()  # what the host found at the start and a person should know

    def __post_init__(self) -> None:
        if len(self.run_id) != 8:
            raise ValueError("run_id is 8 bytes")
        if len(self.node) != 32:
            raise ValueError("node is a 32-byte NodeId")


@dataclass(frozen=True, kw_only=True, slots=True)
class NodePorts:
    """The adapters a node works through. Tests and the simulator may wrap them to plant faults."""

    signer: Signer
    verifier: Verifier
    admin: Signer | None = None  # only on nodes that may invite
    store: Callable[[], StateStore]
    clock: MeshClock
    state_rules: StateRules = field(default_factory=StateRules)
    scheduler_rules: SchedulerRules = field(default_factory=SchedulerRules)
    codec: Codec = WIRE
