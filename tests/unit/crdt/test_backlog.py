"""A letter with more envelopes than a turn bears is read in slices: all of it, in its order, and others in between."""

from collections.abc import Iterable

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from meshnode.crdt import letters
from meshnode.crdt.backlog import BYTES_MAX, SLICE, Backlog, size_of
from meshnode.crdt.letters import Envelopes
from meshnode.kernel.effects import Effect, Persist, Send
from meshnode.kernel.repair import RepairRoot, RepairSums
from meshnode.links.messages import ControlReceived
from meshnode.model.ids import NodeId
from tests.unit.crdt.ports import Mesh

A, B = NodeId(b"a" * 32), NodeId(b"b" * 32)
QUESTIONS = st.builds(RepairRoot, st.binary(max_size=1))
# Some are longer than a slice, which a list that is drawn item by item hardly ever is.
LONG = st.integers(SLICE, 3 * SLICE).map(lambda count: [number.to_bytes(2) for number in range(count)])
LETTERS = st.builds(
    Envelopes, st.lists(st.binary(max_size=2), max_size=9) | LONG, st.booleans(), st.booleans(),
    st.lists(st.just(b"doc"), max_size=1), st.booleans(),
)  # fmt: skip


def written(mesh: Mesh, count: int) -> list[bytes]:
    return [mesh.put("a", f"d{number}", {"v": number}).records[0].body[8:] for number in range(count)]


def heard(mesh: Mesh, letter: Envelopes | RepairRoot) -> list[Effect]:
    event = ControlReceived(mesh.nodes["a"].id, 2, letters.encode(letter))  # pyright: ignore[reportArgumentType]
    return list(mesh.nodes["b"].documents.handle(event, mesh.now))


def kept(effects: list[Effect]) -> int:
    return sum(len(each.records) for each in effects if isinstance(each, Persist))


def test_a_turn_reads_a_slice_and_a_wake_the_next() -> None:
    mesh = Mesh("a", "b")
    letter = Envelopes(written(mesh, 2 * SLICE + 1))
    documents = mesh.nodes["b"].documents
    assert kept(heard(mesh, letter)) == SLICE
    assert documents.is_reading and documents.deadline() == mesh.now.mono_us + 1
    assert kept(list(documents.wake(mesh.now))) == SLICE
    last = list(documents.wake(mesh.now))
    assert kept(last) == 1
    assert not documents.is_reading and documents.count() == 2 * SLICE + 1


def test_a_lost_peer_leaves_nothing_to_be_read() -> None:
    mesh = Mesh("a", "b")
    mesh.link("a", "b")
    items = written(mesh, SLICE + 1)
    heard(mesh, Envelopes(items))
    assert mesh.nodes["b"].documents.is_reading
    mesh.cut("a", "b")
    assert not mesh.nodes["b"].documents.is_reading
    mesh.link("a", "b")
    mesh.settle()
    assert mesh.nodes["b"].documents.count() == SLICE + 1  # repair brought the rest


def answered(effects: list[Effect]) -> list[letters.Letter]:
    return [letters.decode(each.body) for each in effects if isinstance(each, Send)]


def test_who_compares_behind_what_he_brought_is_answered_once_it_is_read() -> None:
    mesh = Mesh("a", "b")
    items = written(mesh, SLICE + 2)
    question = RepairRoot(mesh.nodes["a"].documents.root())
    documents = mesh.nodes["b"].documents
    heard(mesh, Envelopes(items[:-1], more=True))
    assert answered(heard(mesh, question)) == []
    assert answered(list(documents.wake(mesh.now))) == [] and documents.is_reading
    (answer,) = answered(list(documents.wake(mesh.now)))
    assert isinstance(answer, RepairSums) and documents.count() == SLICE + 1
    heard(mesh, Envelopes(items[-1:], more=True))
    assert answered(heard(mesh, question)) == [], "equal by now: had he been answered at once, all had come again"


def test_who_asks_already_is_not_asked_as_well() -> None:
    """One comparison, not two of the same: each would bring what differs once."""
    mesh = Mesh("a", "b")
    heard(mesh, Envelopes(written(mesh, SLICE + 1)))
    heard(mesh, RepairRoot(b"\0" * 8))
    documents = mesh.nodes["b"].documents
    assert answered(list(documents.wake(mesh.now))) == []
    (answer,) = answered(list(documents.wake(mesh.now)))
    assert isinstance(answer, RepairSums) and not documents.is_reading


def test_of_questions_that_wait_the_last_is_answered() -> None:
    backlog = Backlog()
    backlog.put(A, Envelopes([b"a"]))
    for root in (b"1", b"2"):
        backlog.put(A, RepairRoot(root))
    assert [backlog.next()[1], backlog.next()[1]] == [Envelopes([b"a"]), RepairRoot(b"2")]
    assert not backlog


def test_peers_have_their_turns() -> None:
    backlog = Backlog()
    backlog.put(A, Envelopes([b"a"] * 3 * SLICE))
    backlog.put(B, Envelopes([b"b"] * SLICE))
    order: list[NodeId] = []
    while backlog:
        order.append(backlog.next()[0])
    assert order == [A, B, A, A]


def test_who_sends_more_than_there_is_room_for_is_read_at_once() -> None:
    backlog = Backlog()
    backlog.put(A, Envelopes([bytes(BYTES_MAX // 2)]))
    backlog.put(A, Envelopes([bytes(BYTES_MAX // 2 - 1024)]))
    assert not backlog.is_full(A)
    backlog.put(A, Envelopes([b"x"]))
    assert backlog.is_full(A) and not backlog.is_full(B)
    backlog.take(A)
    assert not backlog.is_full(A)


def test_letters_that_bring_nothing_take_room_as_well() -> None:
    for empty in ([Envelopes([])], [Envelopes([]), RepairRoot(b"")], [Envelopes([], rest=[b"d" * 16] * 512)]):
        backlog = Backlog()
        backlog.put(A, Envelopes([b"x"] * 2 * SLICE))
        count = 0
        while not backlog.is_full(A):
            backlog.put(A, empty[count % len(empty)])
            count += 1
            assert count < 5_000
    assert count < 200  # the last ones name many documents


@given(
    st.lists(st.tuples(st.sampled_from([A, B]), LETTERS), max_size=6),
    st.lists(st.tuples(st.sampled_from([A, B]), QUESTIONS), max_size=2),
)
def test_of_each_peer_all_comes_in_its_order_and_each_letter_ends_as_it_did(
    said: list[tuple[NodeId, Envelopes]], asked: list[tuple[NodeId, RepairRoot]]
) -> None:
    backlog = Backlog()
    for peer, letter in said:
        backlog.put(peer, letter)
    for peer, question in asked:
        backlog.put(peer, question)
    read: dict[NodeId, list[Envelopes]] = {A: [], B: []}
    questions: dict[NodeId, RepairRoot] = {}
    while backlog:
        assert backlog._bytes == {
            peer: sum(size_of(each) for each in letters) for peer, letters in backlog._waiting.items()
        }
        peer, letter = backlog.next()
        assert peer not in questions, "its questions were behind all else"
        if isinstance(letter, RepairRoot):
            questions[peer] = letter
            continue
        read[peer].append(letter)
        assert len(letter.items) <= SLICE
    assert questions == dict(asked)
    for peer in (A, B):
        answers = [letter for _, letter in _of(said, peer) if not letter.eager]
        whole = list[Envelopes]()
        begun: Envelopes | None = None
        for letter in (each for each in read[peer] if not each.eager):
            grown = letter if begun is None else msgspec.structs.replace(letter, items=[*begun.items, *letter.items])
            if len(grown.items) < len(answers[len(whole)].items):
                assert letter.more and not letter.rest
                begun = grown
            else:
                whole.append(grown)
                begun = None
        assert whole == answers
        assert _one_by_one(read[peer]) == _one_by_one(letter for _, letter in _of(said, peer))
    assert vars(backlog) == {"_waiting": {}, "_bytes": {}}


def _of(said: list[tuple[NodeId, Envelopes]], peer: NodeId) -> list[tuple[NodeId, Envelopes]]:
    return [each for each in said if each[0] == peer]


def _one_by_one(said: Iterable[Envelopes]) -> list[tuple[bytes, bool, bool]]:
    """Each envelope, and what is said of it."""
    return [(item, letter.eager, letter.lazy) for letter in said for item in letter.items]


def test_new_changes_that_came_one_by_one_are_read_as_if_they_had_come_together() -> None:
    mesh = Mesh("a", "b", "c")
    mesh.link("b", "c")
    mesh.settle()
    items, documents = written(mesh, 4 * SLICE), mesh.nodes["b"].documents
    effects = [effect for item in items for effect in heard(mesh, Envelopes([item], eager=True))]
    assert kept(effects) == SLICE, "what one turn bears, however it came"
    assert documents.deadline() == mesh.now.mono_us + 1, "the core wakes a room again in the same turn if it is due"
    effects = list(documents.wake(mesh.now))
    (persist,) = [each for each in effects if isinstance(each, Persist)]
    assert len(persist.records) == SLICE
    (onward,) = [each for each in persist.then if isinstance(each, Send)]
    letter = letters.decode(onward.body)
    assert isinstance(letter, Envelopes) and letter.items == items[SLICE : 2 * SLICE]
