"""Text that is no UTF-8 raises another error than junk does: no room may let it end the node."""

from collections.abc import Callable

import msgspec
import pytest

from meshnode.gossip import directory, facts, letters
from meshnode.gossip.directory import Row, Status
from meshnode.gossip.letters import ALIAS_BYTES, Push, RowRumour, SignedFact, SignedRow, SoftBatch, Standing
from meshnode.kernel.effects import Channel, Send
from meshnode.kernel.instant import SECOND
from meshnode.links.hello import Goaway
from meshnode.links.messages import LinkBytes
from meshnode.model.commands import ListNodes
from meshnode.model.views import NodesView
from meshnode.wire.frame import Frame, Kind, encode
from tests.unit.node.mesh import Box, Mesh, member_record, signer_of

BETA = signer_of("beta")
MARK = "READYX"


def spoiled(data: bytes) -> bytes:
    assert MARK.encode() in data
    return data.replace(MARK.encode(), b"\xff\xfe\xfdDYX")


def standing() -> bytes:
    return spoiled(letters.encode(Standing([(bytes(ALIAS_BYTES), MARK)])))


def soft() -> bytes:
    body = spoiled(msgspec.msgpack.encode(facts.FactBody(BETA.node, 1, 99, MARK, b"v")))
    return letters.encode(SoftBatch([SignedFact(0, body, BETA.sign(facts.CONTEXT, body))]))


def row(endpoint: str, said: bytes) -> bytes:
    body = msgspec.msgpack.encode(Row(BETA.node, 1, 50, Status.ALIVE, ((endpoint, 7000),), said, 0))
    body = spoiled(body) if MARK.encode() in body else body
    member = member_record("beta", BETA.public_key, roles=("admin",))
    return letters.encode(Push(letters.encode(RowRumour(SignedRow(body, BETA.sign(directory.CONTEXT, body), member)))))


LETTERS: dict[str, Callable[[], bytes]] = {
    "letter": standing,
    "fact": soft,
    "row": lambda: row(MARK, b"{}"),
    "facts of a row": lambda: row("beta", b'{"\xff":1}'),
    "deep facts of a row": lambda: row("beta", b'{"deep":' + b"[" * 2_000 + b"]" * 2_000 + b"}"),
}


@pytest.mark.parametrize("what", LETTERS)
def test_a_member_cannot_end_a_node_with_text_that_is_none(what: str) -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    b.take(b.core._settle([Send(a.node, Channel.GOSSIP, LETTERS[what]())], b.now))
    mesh.run(SECOND)
    refusals = [name for name in a.core.counters.snapshot() if name.startswith("rejected-")]
    assert len(refusals) == 1 and refusals[0].endswith("-malformed")
    assert nodes(a) == ["alpha", "beta"]


def test_a_goodbye_that_is_no_text_is_junk() -> None:
    mesh = Mesh()
    a, _ = mesh.start("alpha", "beta")
    goodbye = Frame(Kind.GOAWAY, header=spoiled(msgspec.msgpack.encode(Goaway(MARK))))
    a.tell(LinkBytes(next(iter(a.links)), encode(goodbye)))
    assert a.core.counters["rejected-goaway-malformed"] == 1
    mesh.run(5 * SECOND)
    assert nodes(a) == ["alpha", "beta"]


def nodes(box: Box) -> list[str]:
    view = box.answer(ListNodes())
    assert isinstance(view, NodesView)
    return [node.name for node in view.items]
