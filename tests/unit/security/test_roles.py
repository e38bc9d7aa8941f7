"""The table of roles: what no row allows is denied."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.ports import Action, Member, Verdict
from meshnode.model.ids import NodeId
from meshnode.security.identity import RecordSigner, new_record_key
from meshnode.security.roles import Roles
from tests.unit.security import world


def verdict(role: str, action: Action, resource: str) -> Verdict:
    trust = world.members()
    member = world.admitted(trust, "nano-7", roles=(role,))
    return Roles(trust).may(member.node, action, resource)


@pytest.mark.parametrize("action", list(Action))
def test_a_stranger_may_do_nothing(action: Action) -> None:
    assert Roles(world.members()).may(NodeId(bytes(32)), action, "skill/x") == Verdict(
        allowed=False, reason="unknown-member"
    )


@pytest.mark.parametrize("action", list(Action))
def test_an_admin_may_do_everything(action: Action) -> None:
    assert verdict("admin", action, "Policy/default/strict") == Verdict(allowed=True, reason="role-admin")


@pytest.mark.parametrize("action", list(Action))
def test_a_member_without_a_role_we_know_may_do_nothing(action: Action) -> None:
    assert verdict("guest", action, "AgentCluster/default/x") == Verdict(allowed=False, reason="no-role")


@pytest.mark.parametrize(
    ("action", "resource"),
    [
        (Action.WRITE, "AgentCluster/default/shop"),
        (Action.WRITE, "Agent/default/words_2"),
        (Action.CALL, "skill/words.count"),
        (Action.RUN, "agent/words"),
        (Action.PUBLISH, "node/nano-7"),
        (Action.PUBLISH, "load"),
        (Action.WRITE, "Node/default/nano-7"),
    ],
)
@pytest.mark.parametrize("role", ["member", "gateway"])
def test_a_member_may_do_its_work_and_so_may_a_gateway(role: str, action: Action, resource: str) -> None:
    answer = verdict(role, action, resource)
    assert answer.allowed and (role == "gateway" or answer.reason == "role-member")


@pytest.mark.parametrize(("action", "resource"), [(Action.READ, "journal"), (Action.WRITE, "Node/default/nano-8")])
def test_a_gateway_reads_journals_and_writes_about_any_node(action: Action, resource: str) -> None:
    assert verdict("gateway", action, resource) == Verdict(allowed=True, reason="role-gateway")
    assert verdict("admin", action, resource).allowed


@pytest.mark.parametrize(
    ("action", "resource", "reason"),
    [
        (Action.WRITE, "Policy/default/strict", "write-needs-admin"),
        (Action.WRITE, "Node/default", "write-needs-admin"),
        (Action.WRITE, "Node/default/nano-8/extra", "write-needs-admin"),
        (Action.READ, "journal/extra", "needs-gateway-or-admin"),
        (Action.READ, "secrets", "needs-gateway-or-admin"),
        (Action.INVITE, "node/nano-8", "needs-admin"),
        (Action.PUBLISH, "node/boss", "not-about-itself"),
    ],
)
def test_a_gateway_may_not_do_more(action: Action, resource: str, reason: str) -> None:
    assert verdict("gateway", action, resource) == Verdict(allowed=False, reason=reason)


@pytest.mark.parametrize(
    ("action", "resource", "reason"),
    [
        (Action.WRITE, "Policy/default/strict", "write-needs-admin"),
        (Action.WRITE, "Agent", "write-needs-admin"),
        (Action.WRITE, "Agents/default/words", "write-needs-admin"),
        (Action.WRITE, "AgentCluster/default", "write-needs-admin"),
        (Action.WRITE, "agentcluster/default/shop", "write-needs-admin"),
        (Action.WRITE, "AgentCluster/default/shop/extra", "write-needs-admin"),
        (Action.WRITE, "Node/default/nano-8", "write-needs-admin"),
        (Action.WRITE, "Node/default/nano-7/extra", "write-needs-admin"),
        (Action.WRITE, "Node/nano-7", "write-needs-admin"),
        (Action.READ, "journal", "needs-gateway-or-admin"),
        (Action.INVITE, "node/nano-8", "needs-admin"),
        (Action.PUBLISH, "node/boss", "not-about-itself"),
        (Action.PUBLISH, "node", "not-about-itself"),
    ],
)
def test_a_member_may_not_do_more(action: Action, resource: str, reason: str) -> None:
    assert verdict("member", action, resource) == Verdict(allowed=False, reason=reason)


@pytest.mark.parametrize(
    "resource",
    [
        "",
        "a//b",
        "AgentCluster/../Policy",
        "AgentCluster/./x",
        "a/%2e%2e/b",
        "a/\0/b",
        "a/b c",
        "ä/b",
        "a/b\n",
        "x" * 600,
    ],
)
@pytest.mark.parametrize("role", ["admin", "member"])
def test_a_resource_that_could_pass_for_another_is_refused_for_everybody(role: str, resource: str) -> None:
    assert verdict(role, Action.WRITE, resource) == Verdict(allowed=False, reason="bad-resource")


@given(resource=st.text(max_size=60), action=st.sampled_from(list(Action)))
def test_no_resource_opens_another_document_kind_to_members(resource: str, action: Action) -> None:
    answer = verdict("member", action, resource)
    assert not (
        answer.allowed
        and action is Action.WRITE
        and resource.split("/", maxsplit=1)[0] not in ("Agent", "AgentCluster")
        and not re.fullmatch(r"Node/[^/]+/nano-7", resource)
    )
    assert not (answer.allowed and action in (Action.INVITE, Action.READ))


def test_a_verdict_does_not_outlive_the_record_it_was_given_for() -> None:
    trust, key = world.members(), RecordSigner(new_record_key()).public_key
    member = trust.admit(world.member_record("nano-7", key))
    assert isinstance(member, Member)
    roles = Roles(trust)
    for _ in range(2):
        assert roles.may(member.node, Action.CALL, "skill/words.count").allowed
        assert not roles.may(member.node, Action.INVITE, "node").allowed
    trust.admit(world.member_record("nano-7", key, roles=("guest",), issued_ms=world.NOW_MS + 1))
    assert roles.may(member.node, Action.CALL, "skill/words.count").reason == "no-role"


def test_questions_without_end_do_not_fill_the_memory() -> None:
    trust = world.members()
    member = world.admitted(trust, "nano-7", roles=("member",))
    roles = Roles(trust)
    for number in range(3000):
        assert roles.may(member.node, Action.CALL, f"skill/s{number}").allowed
    assert len(roles._given) <= 1024  # pyright: ignore[reportPrivateUsage]
