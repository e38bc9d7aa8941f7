"""Policies as people write them."""

import pytest

from meshnode.model.commands import JsonObject
from meshnode.model.declared import parse_declared
from meshnode.model.fields import FieldInvalid
from meshnode.model.policy import PolicyWish, roles_of


def manifest(spec: JsonObject, **metadata: str) -> JsonObject:
    return {"apiVersion": "v1", "kind": "Policy", "metadata": {"name": "node-1.eu", **metadata}, "spec": spec}


def test_a_policy_is_one_list_of_known_roles() -> None:
    wish = parse_declared(manifest({"roles": ["member", "gateway"]}))
    assert isinstance(wish, PolicyWish)
    assert (wish.kind, wish.name, wish.roles) == ("Policy", "node-1.eu", ("member", "gateway"))
    nothing = parse_declared(manifest({"roles": []}))
    assert isinstance(nothing, PolicyWish) and nothing.roles == ()


@pytest.mark.parametrize(
    "wrong", [{}, {"roles": "member"}, {"roles": ["root"]}, {"roles": ["member", "member"]}, {"roles": [], "more": 1}]
)
def test_anything_else_is_refused_where_it_stands(wrong: JsonObject) -> None:
    with pytest.raises(FieldInvalid, match="spec"):
        parse_declared(manifest(wrong))


def test_its_name_is_a_node_in_no_namespace() -> None:
    with pytest.raises(FieldInvalid, match="unique in its mesh"):
        parse_declared(manifest({"roles": []}, namespace="other"))


def test_what_a_peer_stored_and_nobody_could_apply_allows_nothing() -> None:
    assert roles_of(["member"]) == ("member",)
    for junk in (None, 7, "member", ["root"], [["member"]], {"member": 1}, ["member"] * 9):
        assert roles_of(junk) == ()
