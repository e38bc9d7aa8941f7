"""What the switch knows of the node around it, and whom it may ask."""

from collections.abc import Callable
from dataclasses import dataclass, field

from meshnode.kernel.instant import Instant
from meshnode.kernel.ports import Answers, Authority, Beyond, LinkStats
from meshnode.messaging import letters
from meshnode.model.ids import NodeId
from meshnode.registry.index import Index


class Nowhere:
    """Implements ``kernel.ports.Beyond`` where all facts of the mesh are held."""

    def open(self, _address: str, _node: NodeId | None, _now: Instant, /) -> bool:
        return False

    def why(self, _address: str, _node: NodeId | None, _now: Instant, /) -> tuple[str, str] | None:
        return None


@dataclass(frozen=True, kw_only=True, slots=True)
class Around:
    """``call_prefix``: 8 bytes that no other process of this mesh uses for its calls. ``name_of`` tells a node's name
    for messages to people; ``slots_of`` how many slots of an agent are wanted in the mesh, 0 = not known."""

    me: NodeId
    name: str
    call_prefix: bytes
    index: Index
    links: LinkStats
    authority: Authority
    answers: Answers
    name_of: Callable[[NodeId], str]
    slots_of: Callable[[str], int]
    beyond: Beyond = field(default_factory=Nowhere)

    def __post_init__(self) -> None:
        assert len(self.call_prefix) == letters.CALL_ID_BYTES // 2
