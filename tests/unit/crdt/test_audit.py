"""The documents of a journal, made once more: the same as the node has, and whatever is damaged is named."""

from collections.abc import Callable

import pytest
from msgspec.structs import replace

from meshnode.crdt import shelf
from meshnode.crdt.audit import Audit, Auditor
from meshnode.crdt.config import DocumentsConfig
from meshnode.kernel.records import Record
from tests.unit.crdt.ports import Mesh


def played() -> Mesh:
    """Some documents, one deleted, one in its second generation."""
    mesh = Mesh("a", "b", config=DocumentsConfig(generation_changes=8))
    mesh.link("a", "b")
    for number in range(5):
        mesh.put("a", f"d{number}", {"v": number})
    mesh.settle()
    mesh.delete("b", "d1")
    for number in range(20):
        mesh.put("ab"[number % 2], "long", {"v": number})
        mesh.settle()
    mesh.run(2.0)
    return mesh


def records_of(mesh: Mesh, name: str) -> list[Record]:
    return [record for record in mesh.nodes[name].journal.values() if record.body]


def audit_of(mesh: Mesh, name: str, change: Callable[[list[Record]], list[Record]] = list) -> Audit:
    return Auditor().audit(change(records_of(mesh, name)))


def test_a_journal_gives_what_the_node_has() -> None:
    mesh = played()
    for name, node in mesh.nodes.items():
        audit = audit_of(mesh, name)
        assert audit.is_whole
        assert audit.root == node.documents.root()
        assert audit.documents == node.documents.count() == 5
        assert audit.roots >= 1


def without(records: list[Record], at: int) -> list[Record]:
    return [*records[:at], *records[at + 1 :]]


def with_a_bit_turned(records: list[Record], at: int) -> list[Record]:
    body = bytearray(records[at].body)
    body[len(body) // 2] ^= 1
    return [*records[:at], replace(records[at], body=bytes(body)), *records[at + 1 :]]


@pytest.mark.parametrize("damage", [without, with_a_bit_turned])
def test_any_record_that_is_lost_or_damaged_shows(damage: Callable[[list[Record], int], list[Record]]) -> None:
    mesh = played()
    records = records_of(mesh, "a")
    whole = audit_of(mesh, "a")
    for at, record in enumerate(records):
        found = audit_of(mesh, "a", lambda _, at=at: damage(records, at))
        shows = not found.is_whole or found.root != whole.root
        is_remains = len(record.key) > shelf.DOC_BYTES and whole.earlier > 0
        assert shows or is_remains, record.key.hex()
        assert damage is without or found.damaged_count >= 1 or is_remains


def test_a_damaged_record_is_named_by_its_document() -> None:
    mesh = played()
    records = records_of(mesh, "a")
    at = next(at for at, each in enumerate(records) if len(each.key) > shelf.DOC_BYTES)
    found = audit_of(mesh, "a", lambda _: with_a_bit_turned(records, at))
    assert records[at].key[: shelf.DOC_BYTES].hex() in found.damaged[0]
    assert "record-corrupt" in found.damaged[0]
