"""Invites: only where the admin key is, only for what an invite may make of a node."""

import pytest

from meshnode.model.commands import MakeInvite
from meshnode.model.views import InviteView
from meshnode.security.invite import parse_token
from tests.unit.node.mesh import ADMIN
from tests.unit.node.test_commands import alone


def test_an_invite_is_only_made_where_the_admin_key_is() -> None:
    _, box = alone()
    box.has(MakeInvite(), "denied", 4)


def test_an_invite_carries_what_was_asked_for() -> None:
    _, box = alone(admin=ADMIN)
    view = box.answer(MakeInvite(name="beta", ttl_s=60, region="west"))
    assert isinstance(view, InviteView)
    token = parse_token(view.token)
    assert (token.name, token.region, token.addresses) == ("beta", "west", ("alpha:7000",))
    assert token.roles == ("member",)
    assert 0 <= box.now.wall_ms + 60_000 - view.expires_ms < 1_000


def test_an_invite_may_be_for_a_gateway_and_is_never_for_an_admin() -> None:
    _, box = alone(admin=ADMIN)
    view = box.answer(MakeInvite(name="beta", role="gateway"))
    assert isinstance(view, InviteView) and parse_token(view.token).roles == ("gateway",)
    assert any("as gateway" in text for text in box.told("node/beta"))
    for role in ("admin", "", "Gateway", "member,admin"):
        refused = box.has(MakeInvite(name="gamma", role=role), "invalid", 2)
        assert "role is " in refused.message


def test_bare_invites_reserve_different_names() -> None:
    _, box = alone(admin=ADMIN)
    views = [box.answer(MakeInvite()) for _ in range(5)]
    names = [view.name for view in views if isinstance(view, InviteView)]
    assert len(dict.fromkeys(names)) == 5


@pytest.mark.parametrize(
    "command",
    [
        MakeInvite(name="UPPER case"),
        MakeInvite(name="alpha"),
        MakeInvite(ttl_s=0),
        MakeInvite(ttl_s=10**9),
        MakeInvite(region="no region!"),
    ],
)
def test_an_invite_that_breaks_a_rule_is_invalid(command: MakeInvite) -> None:
    _, box = alone(admin=ADMIN)
    box.has(command, "invalid", 2)
