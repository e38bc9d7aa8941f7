"""Writes that are acknowledged from memory: told at once, on the disk later, lost honestly, and never used twice."""

from collections.abc import Sequence

import msgspec
import pytest

from meshnode.crdt import letters
from meshnode.crdt.document import Change, Changes
from meshnode.crdt.letters import Envelopes
from meshnode.crdt.messages import DocumentChanged, EnvelopesKept
from meshnode.crdt.writing import Wanted
from meshnode.kernel.effects import Effect, Persist, Send
from meshnode.kernel.instant import SECOND
from meshnode.links.messages import ControlReceived
from tests.unit.crdt.ports import Mesh, instant

NAMES = ("Thing", "default", "x")


def made(mesh: Mesh, name: str, value: int) -> Changes:
    return mesh.nodes[name].documents.put_all([Wanted(*NAMES, {"v": value})], mesh.now, lazily=True)


def lazily(mesh: Mesh, name: str, value: int) -> Changes:
    changes = made(mesh, name, value)
    mesh.give(name, changes.at_once)
    return changes


def kinds(effects: Sequence[Effect]) -> list[type[Effect]]:
    return [type(each) for each in effects]


def test_peers_and_watchers_hear_of_a_lazy_write_before_its_commit_and_only_its_end_waits_for_it() -> None:
    mesh = Mesh("a", "b")
    mesh.link("a", "b")
    mesh.settle()
    change = lazily(mesh, "a", 1)
    assert (kinds(change.at_once), kinds(change.effects)) == ([Send, DocumentChanged], [EnvelopesKept])
    (outcome,) = change.outcomes
    assert isinstance(outcome, Change) and outcome.created and change.records
    mesh.settle()
    found = mesh.nodes["b"].documents.get(*NAMES)
    assert found is not None and found.fields == {"v": 1}
    assert not mesh.nodes["a"].journal


def test_who_hears_of_a_lazy_write_keeps_it_lazily_and_passes_it_on_at_once() -> None:
    mesh = Mesh("a", "b", "c")
    mesh.link("a", "b")
    mesh.link("b", "c")
    mesh.settle()
    change = made(mesh, "a", 1)
    told = next(each for each in change.at_once if isinstance(each, Send))
    letter = letters.decode(told.body)
    assert isinstance(letter, Envelopes) and letter.lazy and letter.eager
    heard = mesh.nodes["b"].documents.handle(ControlReceived(mesh.nodes["a"].id, told.channel, told.body), mesh.now)
    kept = heard[-1]
    assert kinds(heard) == [Send, DocumentChanged, Persist]
    assert isinstance(kept, Persist) and kept.lazily and kinds(kept.then) == [EnvelopesKept]


def test_a_repeated_letter_that_only_claims_to_be_lazy_is_kept_as_repair_is() -> None:
    mesh = Mesh("a", "b")
    mesh.put("a", "x", {"v": 1})
    (record,) = mesh.nodes["a"].journal.values()
    body = letters.encode(Envelopes([record.body[8:]], lazy=True))
    mesh.link("a", "b")
    effects = mesh.nodes["b"].documents.handle(ControlReceived(mesh.nodes["a"].id, 2, body), mesh.now)  # pyright: ignore[reportArgumentType]
    assert [each.lazily for each in effects if isinstance(each, Persist)] == [False]


def test_a_durable_write_on_top_takes_lazy_ones_along_and_tells_of_none_twice() -> None:
    mesh = Mesh("a")
    lazily(mesh, "a", 1)
    lazily(mesh, "a", 2)
    change = mesh.put("a", "x", {"v": 3})
    assert len(change.records) == len(mesh.nodes["a"].journal) == 3
    assert len(mesh.nodes["a"].facts) == 3
    again = mesh.nodes["a"].documents.put(*NAMES, {"v": 3}, mesh.now)
    assert again.unchanged and not again.records


def test_writing_durably_what_is_there_lazily_waits_for_its_commit() -> None:
    mesh = Mesh("a")
    lazily(mesh, "a", 1)
    unchanged = mesh.nodes["a"].documents.put(*NAMES, {"v": 1}, mesh.now)
    assert unchanged.unchanged and unchanged.records
    assert not made(mesh, "a", 1).records


@pytest.mark.parametrize("value", [1, 2])
def test_durable_writes_of_a_turn_take_along_what_is_there_lazily_of_each_document_of_theirs(value: int) -> None:
    """Whether they write upon it, or it reads like that already."""
    mesh = Mesh("a")
    lazily(mesh, "a", 1)
    other = Wanted("Thing", "default", "other", {"v": 1})
    durable = mesh.nodes["a"].documents.put_all([Wanted(*NAMES, {"v": value}), other], mesh.now)
    assert len(durable.records) == 1 + value
    mesh.give("a", [Persist(durable.records, durable.effects)])
    mesh.restart("a")
    assert {each.name: each.fields for each in mesh.nodes["a"].documents.list()} == {
        "x": {"v": value}, "other": {"v": 1},
    }  # fmt: skip


def test_a_crash_takes_a_lazy_write_back_and_nobody_ever_sees_two_under_one_number() -> None:
    mesh = Mesh("a", "b")
    mesh.put("a", "x", {"v": 0})
    lazily(mesh, "a", 1)
    mesh.nodes["a"].start()
    found = mesh.nodes["a"].documents.get(*NAMES)
    assert found is not None and found.fields == {"v": 0}, "acknowledged as lazy, and nobody else had it"
    mesh.put("a", "x", {"v": 2})
    mesh.link("a", "b")
    mesh.settle()
    assert len(mesh.roots()) == 1 and not mesh.nodes["b"].rejects


def test_a_peer_brings_a_lazy_write_back_to_the_node_that_lost_it() -> None:
    mesh = Mesh("a", "b")
    mesh.link("a", "b")
    lazily(mesh, "a", 1)
    mesh.settle()
    mesh.cut("a", "b")
    mesh.nodes["a"].start()
    assert mesh.nodes["a"].documents.get(*NAMES) is None
    mesh.link("a", "b")
    mesh.settle()
    found = mesh.nodes["a"].documents.get(*NAMES)
    assert found is not None and found.fields == {"v": 1}


def test_a_lazy_write_is_offered_to_the_disk_again_only_once_its_time_is_over() -> None:
    mesh = Mesh("a")
    config = mesh.nodes["a"].config
    lazily(mesh, "a", 1)
    before = mesh.nodes["a"].documents.wake(instant((config.lazy_us + config.keep_again_after_us) / SECOND - 1))
    after = mesh.nodes["a"].documents.wake(instant((config.lazy_us + config.keep_again_after_us) / SECOND + 1))
    assert Persist not in kinds(before)
    assert [each.lazily for each in after if isinstance(each, Persist)] == [False]


def test_an_older_release_reads_a_lazy_letter() -> None:
    raw: list[object] = msgspec.msgpack.decode(letters.encode(Envelopes([b"x"], eager=True, lazy=True)))
    assert raw[:3] == ["envelopes", [b"x"], True] and raw[5] is True
    assert letters.decode(msgspec.msgpack.encode(raw[:5])) == Envelopes([b"x"], eager=True)
