"""Who may do what: a table of roles, and policies that narrow it. What no row allows is denied.

=======  =====================================================================================================
admin    everything
gateway  all a member may; read the journal of every node; write ``Node`` documents (drain, resume) of any node
member   write Agent and AgentCluster documents, and the ``Node`` document about itself; call skills; run
         agents; publish facts about itself; publish and listen to events of any topic
=======  =====================================================================================================

A node reads its own journal without asking anybody.
"""

import re
from collections.abc import Sequence

import msgspec

from meshnode.kernel.ports import Action, Member, Trust, Verdict
from meshnode.model.ids import NodeId

ADMIN = "admin"
GATEWAY = "gateway"
MEMBER = "member"
INVITED = (MEMBER, GATEWAY)  # what an invite may make of a node; admins are made with the mesh
JOURNAL = "journal"  # the resource of Action.READ
_RESOURCE_CHARACTERS_MAX = 512
_GIVEN_MAX = 1024  # verdicts remembered
# One plain word per segment: "." and "..", "%", NUL and empty segments would let one resource pass for another.
_SEGMENT = r"(?!\.{1,2}(?:/|\Z))[A-Za-z0-9._:@+-]+"
_RESOURCE = re.compile(f"{_SEGMENT}(?:/{_SEGMENT})*")
_NODE_KIND = "Node"
_MEMBER_WRITES = frozenset({"Agent", "AgentCluster"})
_MEMBER_ACTIONS = frozenset({Action.CALL, Action.RUN, Action.PUBLISH, Action.SUBSCRIBE})


class Left(msgspec.Struct, frozen=True):
    """What one version of a policy leaves to a member. ``hlc``: when an admin signed it; ``banned``: no link."""

    roles: tuple[str, ...]
    hlc: int
    banned: bool = False


class Roles:
    """Implements ``kernel.ports.Authority`` from the roles that admins wrote into member records, and from the policies
    that take some of them away. Of concurrent versions of a policy all hold: allowed is what all of them allow."""

    def __init__(self, trust: Trust) -> None:
        self._trust = trust
        self._left: dict[str, tuple[Left, ...]] = {}  # by name of the member
        # Calls ask the same again and again. A verdict holds for the record of the member it was given for.
        self._given: dict[tuple[NodeId, Action, str], tuple[Member, Verdict]] = {}

    def may(self, subject: NodeId, action: Action, resource: str) -> Verdict:
        member = self._trust.member(subject)
        if member is None:
            return Verdict(allowed=False, reason="unknown-member")
        if action is Action.WRITE:  # thousands of documents at a time: they would drive out what is asked again
            return self._judged(member, action, resource)
        question = subject, action, resource
        given = self._given.get(question)
        if given is not None and given[0] is member:
            return given[1]
        verdict = self._judged(member, action, resource)
        if len(self._given) >= _GIVEN_MAX:
            self._given.clear()
        self._given[question] = member, verdict
        return verdict

    def _judged(self, member: Member, action: Action, resource: str) -> Verdict:
        verdict = _verdict(member, action, resource)
        left = self._left.get(member.name)
        if left and verdict.allowed and not all(self._leaves(each, member, action, resource) for each in left):
            return Verdict(allowed=False, reason="policy")
        return verdict

    def limit(self, name: str, versions: Sequence[Left]) -> None:
        """The policy of a member is these versions now, all of them; none: it has its member record alone."""
        self._left.pop(name, None)
        if versions:
            self._left[name] = tuple(versions)
        self._given.clear()

    def is_banned(self, name: str) -> bool:
        """Whether any version of the policy of this member bans it."""
        return any(each.banned for each in self._left.get(name, ()))

    def limits(self) -> dict[str, tuple[Left, ...]]:
        """Every policy in force, by the name of the member."""
        return dict(sorted(self._left.items()))

    def until(self, subject: NodeId, resource: str) -> int | None:
        """The cut: a member that may not write this any more might do so up to this hybrid time, which stands in what
        the admin signed. ``None``: it may, or never might."""
        member = self._trust.member(subject)
        if member is None or not _verdict(member, Action.WRITE, resource).allowed:
            return None
        cuts = [each.hlc for each in self._of(member) if not self._leaves(each, member, Action.WRITE, resource)]
        return min(cuts, default=None)

    def _of(self, member: Member) -> tuple[Left, ...]:
        return self._left.get(member.name, ())

    @staticmethod
    def _leaves(left: Left, member: Member, action: Action, resource: str) -> bool:
        roles = tuple(role for role in member.roles if role in left.roles)
        return _verdict(msgspec.structs.replace(member, roles=roles), action, resource).allowed


def _verdict(member: Member, action: Action, resource: str) -> Verdict:
    if not _is_canonical(resource):
        return Verdict(allowed=False, reason="bad-resource")
    if ADMIN in member.roles:
        return Verdict(allowed=True, reason="role-admin")
    segments = resource.split("/")
    if GATEWAY in member.roles and _gateway_may(action, segments):
        return Verdict(allowed=True, reason="role-gateway")
    if MEMBER not in member.roles and GATEWAY not in member.roles:
        return Verdict(allowed=False, reason="no-role")
    return _member_may(member, action, segments)


def _gateway_may(action: Action, segments: list[str]) -> bool:
    """What a gateway may beyond a member."""
    if action is Action.READ:
        return segments == [JOURNAL]
    return action is Action.WRITE and len(segments) == 3 and segments[0] == _NODE_KIND


def _member_may(member: Member, action: Action, segments: list[str]) -> Verdict:
    if action is Action.WRITE:
        about_itself = segments[0] == _NODE_KIND and segments[2:] == [member.name]
        allowed = len(segments) == 3 and (segments[0] in _MEMBER_WRITES or about_itself)
        return Verdict(allowed=allowed, reason="role-member" if allowed else "write-needs-admin")
    if action is Action.READ:
        return Verdict(allowed=False, reason="needs-gateway-or-admin")
    if action not in _MEMBER_ACTIONS:
        return Verdict(allowed=False, reason="needs-admin")
    about_node = action is Action.PUBLISH and segments[0] == "node"
    if about_node and segments[1:2] not in ([member.name], [member.node.hex()]):
        return Verdict(allowed=False, reason="not-about-itself")
    return Verdict(allowed=True, reason="role-member")


def _is_canonical(resource: str) -> bool:
    return len(resource) <= _RESOURCE_CHARACTERS_MAX and _RESOURCE.fullmatch(resource) is not None
