"""Every known trap of automerge 1.0.0rc1: what the engine does, and that our door holds against it.

What may kill the interpreter runs in a child process.
"""

import ast
import subprocess
import sys
from pathlib import Path

import pytest
from automerge.core import ROOT, Document, ScalarType

from meshnode.crdt import change
from meshnode.crdt.guard import Engine, EngineFailure, guarded
from tests.house.syntax import every, sources, tree
from tests.patience import finished
from tests.unit.crdt import chunks

REPOSITORY = Path(__file__).resolve().parents[3]
A, B = b"\x01" * 16, b"\x02" * 16


def child(code: str) -> subprocess.CompletedProcess[str]:
    # No tidy end: freeing a poisoned document is the trap itself.
    return finished([sys.executable, "-c", code + "import os, sys; sys.stdout.flush(); os._exit(0)\n"], cwd=REPOSITORY)


def written(engine: Engine, actor: bytes, **fields: str | None) -> change.ParsedChange:
    """A change drafted and applied."""
    parsed = change.parse(engine.draft(actor, fields))
    engine.apply([parsed], fields)
    return parsed


def test_only_the_guard_imports_the_engine_and_only_its_core() -> None:
    importers: dict[str, list[str]] = {}
    for path in sources("meshnode", holding="automerge"):
        for node in every((ast.Import, ast.ImportFrom), tree(path.read_text())):
            names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            for name in names:
                if name.split(".")[0] == "automerge":
                    importers.setdefault(path.name, []).append(name)
    assert importers == {"guard.py": ["automerge.core"]}


def test_transactions_are_opened_by_with_and_nowhere_else() -> None:
    """A document freed with an open transaction kills the process."""
    guard = tree((REPOSITORY / "meshnode/crdt/guard.py").read_text())
    opened = [node for node in every(ast.Attribute, guard) if node.attr == "transaction"]
    by_with = [
        item.context_expr.func
        for node in every(ast.With, guard)
        for item in node.items
        if isinstance(item.context_expr, ast.Call)
    ]
    assert opened
    assert all(node in by_with for node in opened)


def test_a_panic_is_no_exception_and_becomes_an_engine_failure() -> None:
    document = Document(A)

    def bad_key() -> object:
        return document.get(ROOT, 1.5)  # pyright: ignore[reportArgumentType]

    with pytest.raises(BaseException) as raw:  # noqa: PT011
        bad_key()
    assert type(raw.value).__name__ == "PanicException"
    assert not isinstance(raw.value, Exception)
    with pytest.raises(EngineFailure, match="panic"):
        guarded(bad_key)


def test_a_key_press_that_ends_the_process_is_not_swallowed() -> None:
    def interrupted() -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        guarded(interrupted)


def test_a_panic_inside_a_transaction_poisons_the_document_and_only_that_one() -> None:
    ran = child(
        "from automerge.core import ROOT, Document, ScalarType\n"
        "from meshnode.crdt.guard import EngineFailure, guarded\n"
        "d = Document(b'1' * 16)\n"
        "other = d.fork()\n"
        "def bad():\n"
        "    with d.transaction() as t: t.put(ROOT, 'k', ScalarType.Counter, 1)\n"
        "for call in (bad, d.get_heads, d.save, d.fork):\n"
        "    try: guarded(call); print('went')\n"
        "    except EngineFailure: print('failed')\n"
        "print(guarded(other.get_heads))\n"
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.split() == ["failed", "failed", "failed", "failed", "[]"]


def test_a_poisoned_document_is_built_again_from_its_changes() -> None:
    ran = child(
        "from automerge.core import ROOT, ScalarType\n"
        "from meshnode.crdt.guard import EngineFailure, guarded\n"
        "from tests.unit.crdt.ports import Mesh\n"
        "mesh = Mesh('a', 'b'); mesh.link('a', 'b'); mesh.put('a', 'x', {'v': 1}); mesh.settle()\n"
        "from meshnode.crdt.envelope import doc_id_of\n"
        "doc = doc_id_of('Thing', 'default', 'x')\n"
        "stores = [node.documents._store for node in mesh.nodes.values()]\n"
        "for store in stores:\n"
        "    for engine in [store._engine(doc)]:\n"
        "        def bad():\n"
        "            with engine._live.transaction() as t: t.put(ROOT, 'k', ScalarType.Counter, 1)\n"
        "        try: guarded(bad)\n"
        "        except EngineFailure: print('poisoned')\n"
        "mesh.put('a', 'x', {'v': 2}); mesh.settle(); mesh.put('b', 'x', {'v': 3}); mesh.settle()\n"
        "print([n.documents.get('Thing', 'default', 'x').fields for n in mesh.nodes.values()], len(mesh.roots()))\n"
        "print([store._engine(doc).heads() == store.heads(doc) for store in stores])\n"
    )
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout.splitlines() == ["poisoned", "poisoned", "[{'v': 3}, {'v': 3}] 1", "[True, True]"]


def test_a_transaction_that_fails_half_way_leaves_process_and_document_alive() -> None:
    engine = Engine()
    written(engine, A, k="1")
    with pytest.raises(EngineFailure):
        engine.draft(A, {"ok": "1", "bad": "\ud800"})  # a lone surrogate
    with pytest.raises(EngineFailure):
        engine.draft(A, {"": "1"})
    assert engine.value("k") == "1"
    assert engine.value("ok") is None
    written(engine, A, k="2")


def test_a_change_with_unknown_dependencies_is_dropped_in_silence_and_we_notice() -> None:
    source, engine = Engine(), Engine()
    written(source, A, k="1")
    second = written(source, A, k="2")
    before = engine.heads()
    with pytest.raises(EngineFailure, match="in silence"):
        engine.apply([second], {"k": "2"})
    assert engine.heads() == before == ()


def test_a_change_that_reads_otherwise_than_expected_is_not_taken() -> None:
    source, engine = Engine(), Engine()
    parsed = written(source, A, k="1")
    with pytest.raises(EngineFailure, match="another value"):
        engine.apply([parsed], {"k": "2"})
    assert engine.heads() == ()
    engine.apply([parsed], {"k": "1"})
    assert engine.value("k") == "1"


def test_an_actor_used_twice_would_divide_two_documents_for_ever_and_is_refused() -> None:
    one, other = Engine(), Engine()
    written(one, A, k="1")
    twin = written(other, A, k="2")
    with pytest.raises(EngineFailure):
        one.apply([twin], {"k": "2"})
    assert one.value("k") == "1"


def test_a_put_of_an_equal_value_makes_no_change_and_we_notice() -> None:
    engine = Engine()
    written(engine, A, k="1")
    with pytest.raises(EngineFailure, match="0 changes"):
        engine.draft(A, {"k": "1"})


def test_a_counter_cannot_be_read_and_never_gets_in() -> None:
    columns = chunks.columns_of({"k": "x"})
    columns[0x56] = chunks.literals(chunks.uleb(1 << 4 | 8))
    hostile = chunks.chunk(chunks.body(columns))
    with pytest.raises(EngineFailure):
        Engine([hostile]).value("k")
    with pytest.raises(Exception, match="change-value"):
        change.parse(hostile)


def test_a_failed_change_leaves_the_document_as_it_was_and_usable() -> None:
    engine = Engine()
    written(engine, A, k="1")
    for _ in range(3):
        orphan = change.parse(chunks.change({"k": "9"}, deps=[b"z" * 32], actor=B))
        with pytest.raises(EngineFailure):
            engine.apply([orphan], {"k": "9"})
    written(engine, B, k="2")
    written(engine, A, k="3")
    assert engine.value("k") == "3"


def test_both_copies_of_a_document_follow_every_change() -> None:
    """The spare copy lags by one change; whatever the order of writers, it catches up before it is used."""
    engine = Engine()
    made = [written(engine, A if number % 3 else B, k=str(number), n=str(-number)) for number in range(20)]
    again = Engine([each.plain for each in made])
    assert again.heads() == engine.heads() == (made[-1].hash,)
    assert (again.value("k"), again.value("n")) == ("19", "-19")


def test_the_engine_writes_null_and_text_only() -> None:
    engine = Engine()
    engine.draft(A, {"a": "true", "b": None})
    parsed = change.parse(engine.draft(A, {"a": "true", "b": None}))
    assert {op.key: op.value for op in parsed.ops} == {"a": "true", "b": None}


def test_a_value_of_another_type_in_a_document_is_a_failure_and_no_guess() -> None:
    document = Document(A)
    with document.transaction() as transaction:
        transaction.put(ROOT, "flag", ScalarType.Boolean, True)
        transaction.put(ROOT, "n", ScalarType.Int, 1)
    engine = Engine([bytes(each.raw_bytes) for each in document.get_changes([])])
    for key in ("flag", "n"):
        with pytest.raises(EngineFailure, match="no text"):
            engine.value(key)
