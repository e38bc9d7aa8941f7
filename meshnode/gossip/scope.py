"""Who holds which soft facts: all of them in a small mesh, those of the own region in a large one.

A *part* is what is held and compared as a whole: "" for facts of scope mesh (who runs what), or the name of a region
for what concerns that region alone (load, skills). Nodes of role gateway or admin hold all parts, and say so.
"""

from collections.abc import Callable, Sequence

from meshnode.kernel.ports import Member
from meshnode.model.ids import NodeId

MESH = ""  # the part everybody holds
WHOLE_ROLES = ("gateway", "admin")
_REGIONAL_KEY = "load"
_REGIONAL_PREFIX = "skill/"


class Scope:
    """Answers for this node and its neighbours. ``small``: the mesh is so small that all facts go everywhere."""

    def __init__(
        self, node: NodeId, *, region_of: Callable[[NodeId], str], small: Callable[[], bool], whole: bool
    ) -> None:
        self._node, self.region_of, self._small = node, region_of, small
        self.whole = whole
        self._whole_peers: dict[NodeId, None] = {}

    @property
    def small(self) -> bool:
        return self._small()

    def part(self, owner: NodeId, key: str) -> str:
        regional = key == _REGIONAL_KEY or key.startswith(_REGIONAL_PREFIX)
        return self.region_of(owner) if regional else MESH

    def near(self, owner: NodeId) -> bool:
        """What concerns the region of ``owner`` is held here."""
        return self.holds(self.region_of(owner))

    def holds(self, part: str) -> bool:
        return part in (MESH, self.region_of(self._node)) or self.whole or self._small()

    def wants(self, peer: NodeId, part: str) -> bool:
        """Whether a neighbour is to be told facts of a part."""
        return part in (MESH, self.region_of(peer)) or peer in self._whole_peers or self._small()

    def alike(self, peer: NodeId) -> bool:
        """It is told the same facts as everybody of this node's region."""
        return self.region_of(peer) == self.region_of(self._node) or self._small()

    def shared(self, peer: NodeId, parts: Sequence[str]) -> list[str]:
        """The regions both this node and a neighbour hold, of those that ``parts`` names and their own; sorted."""
        known = dict.fromkeys((*parts, self.region_of(peer), self.region_of(self._node)))
        return sorted(part for part in known if part != MESH and self.holds(part) and self.wants(peer, part))

    def told_whole(self, peer: NodeId, *, whole: bool) -> None:
        """What a neighbour's greeting says."""
        if whole:
            self._whole_peers[peer] = None
        else:
            self._whole_peers.pop(peer, None)

    def down(self, peer: NodeId) -> None:
        self._whole_peers.pop(peer, None)


def holds_whole(member: Member | None) -> bool:
    """Whether an admin gave it a role that holds all regions."""
    return member is not None and any(role in WHOLE_ROLES for role in member.roles)
