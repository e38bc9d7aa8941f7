"""Documents of kind Node: what they may say, and what is refused."""

from typing import Any

import pytest

from meshnode.model.agent import parse_agent
from meshnode.model.declared import parse_declared
from meshnode.model.fields import FieldInvalid
from meshnode.model.nodewish import NodeIntent, NodeWish, node_manifest, parse_node, parse_node_spec


def manifest(**changed: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
    return {**node_manifest("edge-1.hall", drain=True, reason="new disk"), **changed}


def test_a_drain_reads_back_as_it_was_written() -> None:
    wish = parse_declared(manifest())
    assert isinstance(wish, NodeWish)
    assert (wish.kind, wish.namespace, wish.name) == ("Node", "default", "edge-1.hall")
    assert wish.intent == NodeIntent(drain=True, reason="new disk")
    assert parse_node_spec({"drain": False}) == NodeIntent()
    assert "reason" not in node_manifest("a", drain=True)["spec"]


@pytest.mark.parametrize(
    ("changed", "path", "words"),
    [
        ({"spec": {}}, "spec", "drain is missing"),
        ({"spec": {"drain": "yes"}}, "spec.drain", "write true or false"),
        ({"spec": {"drain": True, "reason": ""}}, "spec.reason", "printable"),
        ({"spec": {"drain": True, "reason": "x" * 257}}, "spec.reason", "1 to 256"),
        ({"spec": {"drain": True, "cordon": True}}, "spec.cordon", "unknown field"),
        ({"metadata": {"name": "Edge"}}, "metadata.name", "no name for a node"),
        ({"metadata": {"name": "a", "namespace": "dock"}}, "metadata.namespace", "unique in its mesh"),
    ],
)
def test_what_is_wrong_is_refused_with_its_path(changed: dict[str, Any], path: str, words: str) -> None:
    with pytest.raises(FieldInvalid) as refused:
        parse_declared(manifest(**changed))
    assert ".".join(map(str, refused.value.path)) == path
    assert words in f"{refused.value.message} {refused.value.next_step}"


def test_another_kind_is_not_read_as_a_node() -> None:
    with pytest.raises(FieldInvalid, match="is Agent, not Node"):
        parse_node({**manifest(), "kind": "Agent", "metadata": {"name": "a"}})
    with pytest.raises(FieldInvalid, match="is Node, not Agent"):
        parse_agent(manifest())
