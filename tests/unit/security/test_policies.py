"""Policies narrow what a member record gives, all versions at once, and say since when."""

from meshnode.kernel.ports import Action, Member
from meshnode.model.ids import NodeId
from meshnode.security.roles import Left, Roles

NODE = NodeId(b"n" * 32)
WRITE = (NODE, Action.WRITE, "AgentCluster/default/x")


class OneMember:
    """``Trust`` in one member."""

    def __init__(self, *roles: str) -> None:
        self._member = Member(NODE, "alpha", b"k" * 32, roles, "r", {}, b"")

    def admit(self, record: bytes) -> Member | str:
        return f"not {len(record)} bytes"

    def member(self, node: NodeId) -> Member | None:
        return self._member if node == NODE else None


def test_a_policy_takes_and_never_gives() -> None:
    roles = Roles(OneMember("member"))
    roles.limit("alpha", [Left(("admin", "gateway", "member"), 7)])
    assert roles.may(*WRITE).allowed
    assert not roles.may(NODE, Action.WRITE, "Policy/default/alpha").allowed
    assert not roles.may(NODE, Action.READ, "journal").allowed
    roles.limit("alpha", [Left((), 8)])
    assert (roles.may(*WRITE).allowed, roles.may(*WRITE).reason) == (False, "policy")
    assert not roles.may(NODE, Action.CALL, "words.count").allowed


def test_of_two_versions_what_either_denies_is_denied_until_one_is_left() -> None:
    roles = Roles(OneMember("member", "gateway"))
    roles.limit("alpha", [Left(("member",), 5), Left(("gateway",), 6)])
    assert not roles.may(NODE, Action.READ, "journal").allowed
    assert roles.may(*WRITE).allowed  # as a member by the one, as a gateway by the other
    roles.limit("alpha", [Left(("gateway",), 6)])
    assert roles.may(NODE, Action.READ, "journal").allowed
    roles.limit("alpha", [])
    assert roles.may(NODE, Action.READ, "journal").allowed
    assert roles.limits() == {}


def test_the_cut_is_the_earliest_version_that_denies_and_only_for_who_might_write() -> None:
    roles = Roles(OneMember("member"))
    assert roles.until(NODE, WRITE[2]) is None
    roles.limit("alpha", [Left((), 9), Left((), 5), Left(("member",), 2)])
    assert roles.until(NODE, WRITE[2]) == 5
    assert roles.until(NODE, "Policy/default/alpha") is None
    assert roles.until(NodeId(b"x" * 32), WRITE[2]) is None


def test_a_verdict_is_forgotten_with_the_policy_it_was_given_under() -> None:
    roles = Roles(OneMember("admin"))
    assert roles.may(NODE, Action.WRITE, "Policy/default/alpha").allowed
    roles.limit("alpha", [Left(("member",), 1)])
    assert not roles.may(NODE, Action.WRITE, "Policy/default/alpha").allowed
    roles.limit("alpha", [Left(("admin",), 2)])
    assert roles.may(NODE, Action.WRITE, "Policy/default/alpha").allowed
