"""One unit as this node knows it: what it holds, and, while the unit runs here, what is under way."""

import enum
from collections import deque

import msgspec

from meshnode.checkpoints.fold import Manifest
from meshnode.checkpoints.held import Held
from meshnode.checkpoints.letters import Ask, Lead
from meshnode.checkpoints.shelf import Logged
from meshnode.checkpoints.state import State
from meshnode.kernel.epochs import Dot, Epoch
from meshnode.model.durability import Durability
from meshnode.model.ids import AgentConn, InstanceId, NodeId


class Role(enum.StrEnum):
    """Why the state is here."""

    OWNER = "owner"  # the unit runs here, or is about to
    COPY = "copy"  # kept for the node that runs it
    RESTING = "resting"  # it ran here once, or its owner was not heard of since this node started


class Write(msgspec.Struct, frozen=True):
    """A change whose reply waits. ``version``: of its epoch; ``total``: of the state, as people see it."""

    version: int
    total: int
    seq: int
    call_id: bytes
    conn: AgentConn | None
    at_us: int


class Holder(msgspec.Struct):
    """A node that keeps a copy for us. ``acked``: version of our epoch; -1: not even our beginning."""

    since_us: int
    acked: int = -1


class Attached(msgspec.Struct, frozen=True):
    """The process of the unit."""

    conn: AgentConn
    hooks: tuple[str, ...]
    resumed: bool
    merge_no: int


class Merge(msgspec.Struct):
    """Cells on their way to the process. ``version``: of the entry that has to be durable first."""

    merge_no: int
    version: int
    keys: dict[str, tuple[Dot, ...]]  # with the dots the process does not know yet
    frames: int = 0  # sent and not answered
    sent: bool = False
    asked: dict[str, tuple[Dot, Dot]] = {}  # keys its merge functions decide, between these two


class Run(msgspec.Struct):
    """The unit runs here. ``epoch``: as claimed, and from the opening on as written (``marks.py``)."""

    epoch: Epoch
    durability: Durability
    ready: bool = False
    asks: dict[int, None] = {}  # copies asked for at the opening and not here yet
    sources: list[str] = []
    version: int = 0  # of the newest entry of this epoch
    committed: int = 0
    pending: deque[Write] = msgspec.field(default_factory=deque[Write])
    holders: dict[NodeId, Holder] = {}
    rivals: dict[NodeId, None] = {}  # they run the unit, too, and keep no copy for us
    shunned: dict[NodeId, int] = {}  # until when they are not asked to hold
    process: Attached | None = None
    last_seq: int = 0
    kept_seq: int = 0
    knows: int = 0  # the merge number the process surely knows
    blind: int = 0  # a process that knows less may not know anything that came from other nodes
    merges: list[Merge] = []
    gap: int = 0
    source: str = ""
    owed: dict[NodeId, int] = {}  # who waits for our word, until which version is durable
    moved: bool = False
    merged_at: int = 0  # version of the newest entry that merged another copy
    paused: bool = False  # the disk did not take its entries: it is opened again in a while
    noted: bool = False  # more was seen than the entries say


class Folding(msgspec.Struct, frozen=True):
    """A checkpoint being written. ``keys``: of the journal records it replaces; ``held``: what it was made of."""

    held: Held
    manifest: Manifest
    keys: tuple[bytes, ...]
    touched: dict[str, None] | None


class Sync(msgspec.Struct):
    """A copy being brought up to its owner. ``waiting``: entries that came meanwhile."""

    lead: Lead
    ask_no: int
    waiting: list[bytes] = []
    waiting_bytes: int = 0


class Unit:
    """Mutable, and only touched by the parts of this room."""

    def __init__(self, name: InstanceId) -> None:
        self.name = name
        self.held = Held(name, State(), follows={}, damaged=[])
        self.role = Role.RESTING
        self.loaded = False
        self.log: list[Logged] = []
        self.log_bytes = 0
        self.manifests: list[Manifest] = []
        self.touched: dict[str, None] | None = {}
        self.folding: Folding | None = None
        self.fold_no = 0
        self.fold_after = 0  # no new try before the log has this many entries
        self.fold_again = False  # a checkpoint was asked for while one is being written
        self.run: Run | None = None
        self.process: Attached | None = None  # of a unit that is not open yet
        self.known = 0  # a version that others told of
        self.syncs: dict[NodeId, Sync] = {}
        self.handed = b""  # what the winner had seen when it last told
        self.winner: NodeId | None = None  # who goes on with the unit and is to get our work
        self.piece_no = 0
        self.used = 0  # the highest counter this process has written under
        self.unstored: dict[bytes, None] = {}  # records of copies on their way to the disk
        self.refused: dict[Epoch, int] = {}  # entries of these epochs beyond these versions were refused
        self.copies_kept: dict[Epoch, int] = {}  # versions of others' epochs that are durable here
        self.led: tuple[NodeId, Lead] | None = None  # waits for the state to be read
        self.asked: list[tuple[NodeId, Ask]] = []  # they too

    @property
    def state(self) -> State:
        return self.held.state

    @property
    def checkpoint(self) -> int:
        return self.manifests[-1].version if self.manifests else 0
