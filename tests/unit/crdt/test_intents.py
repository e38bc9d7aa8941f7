"""Writes that are promised before they are made: what is sure is never refused, and becomes what a put would make."""

from functools import partial

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.crdt.envelope import doc_id_of
from meshnode.crdt.fields import JsonValue
from meshnode.crdt.registers import FIELDS_EVER_MAX
from meshnode.crdt.store import PROMISED_MAX, AutomergeStore
from meshnode.crdt.writing import Draft, Intent, Wanted
from meshnode.kernel.effects import Persist
from meshnode.model.errors import LocalError
from tests.unit.crdt.ports import Mesh

CHANGES_MAX, NEW_MAX = 3, 2
STORE = partial(AutomergeStore, changes_max=CHANGES_MAX, documents_max=PROMISED_MAX + NEW_MAX - 1)
Fields = dict[str, JsonValue]


def text(letter: str, count: int) -> str:
    return letter * count


def fields(count: int, value: JsonValue) -> Fields:
    return {f"f{number}": value for number in range(count)}


TEXTS = st.builds(text, st.sampled_from("x\u00e4\U0001f40d\n"), st.integers(0, 9_000))
LISTS: st.SearchStrategy[list[JsonValue]] = st.lists(TEXTS, max_size=3).map(list[JsonValue])
VALUES: st.SearchStrategy[JsonValue] = TEXTS | st.integers() | st.booleans() | LISTS
SOME: st.SearchStrategy[Fields] = st.dictionaries(st.sampled_from(["a", "b", "c", "k" * 250]), VALUES, max_size=4)
FIELDS: st.SearchStrategy[Fields] = SOME | st.builds(fields, st.integers(0, 600), VALUES)
WRITES = st.lists(st.tuples(st.sampled_from("xyz"), FIELDS), max_size=8)


def wanted(name: str, fields: Fields) -> Wanted:
    return Wanted("Thing", "default", name, fields)


def promised(mesh: Mesh, write: Wanted) -> Intent | Draft | LocalError:
    """What the node says of it at once; made, told and kept."""
    documents = mesh.nodes["a"].documents
    intent = documents.intend(write)
    if isinstance(intent, Intent):
        made = documents.fulfil([intent], mesh.now)
        mesh.give("a", [*made.at_once, Persist(made.records, made.effects)])
    return intent


@settings(max_examples=150, deadline=None)
@given(writes=WRITES)
def test_a_promise_becomes_what_a_put_would_have_made_to_the_last_byte(
    writes: list[tuple[str, Fields]],
) -> None:
    one, other = Mesh("a", store=STORE), Mesh("a", store=STORE)
    for name, given_fields in writes:
        write = wanted(name, given_fields)
        intent = one.nodes["a"].documents.intend(write)
        if isinstance(intent, Intent) and not intent.is_sure:
            for mesh in (one, other):
                made = mesh.nodes["a"].documents.put_all([write], mesh.now, lazily=True)
                mesh.give("a", [*made.at_once, Persist(made.records, made.effects)])
            continue
        said = promised(one, write)
        made = other.nodes["a"].documents.put_all([write], other.now, lazily=True)
        other.give("a", [*made.at_once, Persist(made.records, made.effects)])
        (outcome,) = made.outcomes
        if isinstance(said, LocalError):
            assert isinstance(outcome, LocalError) and outcome.code == said.code
        else:
            assert not isinstance(outcome, LocalError)
            assert outcome.unchanged == isinstance(said, Draft)
            assert isinstance(said, Draft) or outcome.created == said.created
    assert one.nodes["a"].journal == other.nodes["a"].journal
    assert one.nodes["a"].facts == other.nodes["a"].facts


def is_sure(mesh: Mesh, name: str, **fields: JsonValue) -> bool:
    intent = mesh.nodes["a"].documents.intend(wanted(name, {"v": 1, **fields}))
    assert isinstance(intent, Intent)
    return intent.is_sure


def test_what_may_be_too_much_for_something_is_not_sure() -> None:
    mesh = Mesh("a", store=STORE)
    assert is_sure(mesh, "x") and is_sure(mesh, "x", text="x" * 8_000)
    assert not is_sure(mesh, "x", text="x" * 8_300), "of a change"
    for number in range(CHANGES_MAX):
        assert is_sure(mesh, "x", n=number)
        mesh.put("a", "x", {"v": number})
    assert not is_sure(mesh, "x", n=9), "of changes"
    for number in range(NEW_MAX - 1):
        assert is_sure(mesh, f"new-{number}")
        mesh.put("a", f"new-{number}", {"v": 1})
    assert not is_sure(mesh, "another"), "of documents, should all be new that may be promised"


def test_a_document_in_conflict_and_one_with_many_fields_are_not_sure() -> None:
    mesh = Mesh("a", "b")
    for number in range(FIELDS_EVER_MAX // 512):
        mesh.put("a", "many", {f"f{number}.{field}": 1 for field in range(510)})
    mesh.put("a", "many", {"v": 1})  # the names of those that are gone count, too
    assert is_sure(mesh, "many", other=1)
    assert not is_sure(mesh, "many", **{f"other{n}": 1 for n in range(60)})
    for name in ("a", "b"):
        mesh.put(name, "x", {"v": name})
    assert is_sure(mesh, "x", v="c")
    mesh.link("a", "b")
    mesh.settle()
    assert len(mesh.nodes["a"].documents._store.heads(doc_id_of("Thing", "default", "x"))) > 1
    assert not is_sure(mesh, "x", v="c")


def test_a_document_with_several_heads_is_not_sure_though_no_field_of_anybody_is_in_conflict() -> None:
    mesh = Mesh("a", "b")
    for name in ("a", "b"):
        mesh.put(name, "x", {"v": 1, name: 1})
    mesh.link("a", "b")
    mesh.settle()
    assert mesh.nodes["a"].documents.conflicts() == ()
    assert not is_sure(mesh, "x", v=1, a=1, b=2)


def test_what_is_intended_of_what_has_changed_since_is_not_made() -> None:
    mesh = Mesh("a")
    intent = mesh.nodes["a"].documents.intend(wanted("x", {"v": 1}))
    assert isinstance(intent, Intent)
    mesh.put("a", "x", {"v": 2})
    with pytest.raises(AssertionError, match="came before a promise"):
        mesh.nodes["a"].documents.fulfil([intent], mesh.now)
