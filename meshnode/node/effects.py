"""What the core asks of its host. Together with the effects named in ``Output`` this is all a host must perform."""

from meshnode.agents.messages import StartProcess, StopProcess, WelcomeAgent
from meshnode.kernel.blobs import DropBlobs, KeepBlobs, ReadBlob
from meshnode.kernel.effects import Dial, Effect
from meshnode.kernel.records import Record
from meshnode.links.messages import CloseLink, Transmit
from meshnode.model.views import AnyView, EventView
from meshnode.security.messages import IssueLeaf, RefuseEnrolment, RenewLeaf
from meshnode.wire.bus import Spread, ToAgent


class Store(Effect, frozen=True):
    """Append to the journal in this order; answer with ``Stored`` or ``StoreFailed``.

    ``idly``: it may wait a moment for a commit to ride with; later ones wait for nothing. ``lazily``: for seconds.
    """

    batch_no: int
    records: tuple[Record, ...]
    idly: bool = False
    lazily: bool = False


class Reply(Effect, frozen=True):
    """The one answer to command ``command_no``."""

    command_no: int
    view: AnyView


class StreamItemTold(Effect, frozen=True):
    """One item of the streaming call ``command_no``, in order; ``payload`` is its JSON. The end is the ``Reply``."""

    command_no: int
    number: int
    payload: bytes


class Announce(Effect, frozen=True):
    """Something happened that watchers of this node want to see."""

    number: int
    event: EventView


class DrawEntropy(Effect, frozen=True):
    """``count`` bytes from the system's randomness, for keys; answered by ``EntropyDrawn``."""

    purpose: int
    count: int


class FetchLogs(Effect, frozen=True):
    """Read lines of agents from this node's disk; answered by ``LogsFetched`` with the same number."""

    ask_no: int
    agent: str
    after: int
    limit: int


class Exit(Effect, frozen=True):
    """End the process after what is queued was performed."""

    code: int
    reason: str


Output = (
    Store
    | Reply
    | StreamItemTold
    | Announce
    | DrawEntropy
    | FetchLogs
    | KeepBlobs
    | ReadBlob
    | DropBlobs
    | Exit
    | Dial
    | Transmit
    | CloseLink
    | StartProcess
    | StopProcess
    | WelcomeAgent
    | ToAgent
    | Spread
    | IssueLeaf
    | RefuseEnrolment
    | RenewLeaf
)
