"""Several envelopes under one signature: each can be judged alone, and what is wrong with one is its own affair."""

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.crdt import batch, envelope, letters
from meshnode.crdt.document import Change, Changes
from meshnode.crdt.interest import NotHeld
from meshnode.crdt.letters import Envelopes
from meshnode.crdt.writing import Wanted
from meshnode.kernel.effects import Channel, Persist, Send
from meshnode.kernel.records import Record
from meshnode.links.messages import ControlReceived
from meshnode.model.errors import Denied, Invalid, LocalError
from meshnode.model.interest import Interest
from tests.unit.crdt.ports import KeySigner, Mesh

BODIES = st.lists(st.binary(max_size=40), min_size=2, max_size=batch.BATCH_MAX, unique=True)
Frame = list[bytes | int]


def wanted(*numbers: int, value: int = 1) -> list[Wanted]:
    return [Wanted("Thing", "default", f"d{number}", {"v": value, "n": number}) for number in numbers]


def put_all(mesh: Mesh, name: str, writes: list[Wanted], *, lazily: bool = False) -> Changes:
    made = mesh.nodes[name].documents.put_all(writes, mesh.time_of(name), lazily=lazily)
    mesh.give(name, [*made.at_once, Persist(made.records, made.effects)])
    return made


def data_of(records: tuple[Record, ...]) -> list[bytes]:
    return [record.body[8:] for record in records]


def deliver(mesh: Mesh, name: str, items: list[bytes], via: str) -> list[str]:
    """Names of the refusals."""
    node, before = mesh.nodes[name], len(mesh.nodes[name].rejects)
    body = letters.encode(Envelopes(items, eager=True))
    mesh.give(name, node.documents.handle(ControlReceived(mesh.nodes[via].id, Channel.STATE, body), mesh.now))
    return [each.reason for each in node.rejects[before:]]


def frame_of(data: bytes) -> Frame:
    return msgspec.msgpack.decode(data, type=Frame)


def framed(frame: Frame) -> bytes:
    return msgspec.msgpack.encode(frame)


@given(bodies=BODIES)
def test_every_body_of_a_batch_comes_to_its_root_and_every_other_body_or_place_to_another(bodies: list[bytes]) -> None:
    root, ways = batch.ways(bodies)
    for place, body in enumerate(bodies):
        assert batch.is_way(place, ways[place])
        assert batch.root_of(body, place, ways[place]) == root
        assert batch.root_of(body + b"x", place, ways[place]) != root
        others = [at for at in range(1 << len(ways[place]) // batch.NODE_BYTES) if at != place]
        assert all(batch.root_of(body, at, ways[place]) != root for at in others)


@given(bodies=BODIES, flipped=st.integers(0, 10_000))
def test_a_flipped_bit_of_a_way_leads_to_another_root(bodies: list[bytes], flipped: int) -> None:
    root, ways = batch.ways(bodies)
    way = bytearray(ways[0])
    way[flipped % len(way)] ^= 1 << flipped % 8
    assert batch.root_of(bodies[0], 0, bytes(way)) != root


def test_what_stands_between_root_and_leaves_is_no_body() -> None:
    """Two leaves put together would be the body of a shorter tree, were they hashed alike."""
    root, ways = batch.ways([b"a", b"b", b"c", b"d"])
    assert batch.root_of(ways[0][batch.NODE_BYTES :], 1, ways[2][batch.NODE_BYTES :]) != root


@settings(deadline=None, max_examples=20)
@given(count=st.integers(2, 40), spoiled=st.integers(0, 39), flipped=st.integers(0, 100_000))
def test_one_that_was_tampered_with_spoils_only_itself(count: int, spoiled: int, flipped: int) -> None:
    mesh = Mesh("a", "b")
    items = data_of(put_all(mesh, "a", wanted(*range(count))).records)
    at = spoiled % count
    torn = bytearray(items[at])
    torn[flipped % len(torn)] ^= 1 << flipped % 8
    reasons = deliver(mesh, "b", [*items[:at], bytes(torn), *items[at + 1 :]], "a")
    documents = mesh.nodes["b"].documents
    assert len(reasons) + documents.awaiting() == 1  # of an altered author nobody knows who that may be
    assert reasons != ["fork"]
    assert documents.count() == count - 1
    assert documents.get("Thing", "default", f"d{at}") is None
    assert deliver(mesh, "b", items, "a") == []
    assert len(mesh.roots()) == 1


def test_writes_of_one_turn_cost_a_signature_for_every_sixteen(monkeypatch: pytest.MonkeyPatch) -> None:
    mesh = Mesh("a")
    signed: list[str] = []
    sign = KeySigner.sign

    def counted(self: KeySigner, context: str, body: bytes) -> bytes:
        signed.append(context)
        return sign(self, context, body)

    monkeypatch.setattr(KeySigner, "sign", counted)
    put_all(mesh, "a", wanted(*range(33)))
    assert signed == [envelope.BATCH_CONTEXT, envelope.BATCH_CONTEXT, envelope.CONTEXT]


def test_one_alone_is_sealed_as_older_releases_read_it() -> None:
    mesh = Mesh("a")
    (data,) = data_of(put_all(mesh, "a", wanted(1)).records)
    assert len(frame_of(data)) == 2


def test_one_of_a_batch_travels_alone_and_through_restarts() -> None:
    mesh = Mesh("a", "b", "c")
    items = data_of(put_all(mesh, "a", wanted(*range(5))).records)
    assert deliver(mesh, "b", [items[3]], "a") == []
    mesh.restart("b")
    mesh.restart("a")
    mesh.link("b", "c")
    mesh.settle()
    found = mesh.nodes["c"].documents.get("Thing", "default", "d3")
    assert found is not None and found.updated_by == mesh.nodes["a"].id
    mesh.link("a", "b")
    mesh.settle()
    assert len(mesh.roots()) == 1
    assert mesh.nodes["c"].documents.count() == 5


def test_a_batch_leaves_in_one_letter() -> None:
    mesh = Mesh("a", "b")
    mesh.link("a", "b")
    mesh.settle()
    mesh.log.clear()
    put_all(mesh, "a", wanted(*range(10)))
    mesh.settle()
    assert [type(letters.decode(body)).__name__ for _, _, body in mesh.log] == ["Envelopes"]
    assert len(mesh.roots()) == 1


def test_a_body_does_not_pass_with_the_place_or_the_way_of_another() -> None:
    mesh = Mesh("a", "b")
    one, two, *_ = [frame_of(each) for each in data_of(put_all(mesh, "a", wanted(*range(4))).records)]
    assert deliver(mesh, "b", [framed([*one[:2], two[2], one[3]])], "a") == ["bad-signature"]
    assert deliver(mesh, "b", [framed([*one[:3], two[3]])], "a") == ["bad-signature"]
    assert deliver(mesh, "b", [framed(one[:2])], "a") == ["bad-signature"]
    assert mesh.nodes["b"].documents.count() == 0


def test_a_frame_of_another_spelling_is_refused_and_is_no_evidence_against_its_author() -> None:
    """Whoever passes an envelope on could otherwise make its author look like one who signs twice."""
    mesh = Mesh("a", "b")
    plain = mesh.put("a", "x", {"v": 1}).records[0].body[8:]
    batched = data_of(put_all(mesh, "a", wanted(1, 2)).records)[0]
    assert deliver(mesh, "b", [plain, batched], "a") == []
    body, signature = frame_of(plain)
    assert isinstance(body, bytes) and isinstance(signature, bytes)
    longer = b"\x92\xc6" + len(body).to_bytes(4) + body + b"\xc4\x40" + signature
    place, way = frame_of(batched)[2:]
    assert isinstance(place, int) and isinstance(way, bytes)
    others = [
        longer,
        framed([body, signature, 0, b""]),
        framed([*frame_of(batched)[:2], place + (1 << len(way) // batch.NODE_BYTES), way]),
        framed([*frame_of(batched)[:3], way + b"x"]),
        framed([*frame_of(batched)[:3], way * (batch.DEPTH_MAX + 1)]),
        framed([*frame_of(batched)[:2], -1, way]),
        framed([*frame_of(batched), 0]),
    ]
    assert deliver(mesh, "b", others, "a") == ["envelope-frame"] * len(others)
    assert mesh.nodes["b"].notes == []


def test_an_author_who_signs_two_writes_under_one_number_in_two_batches_is_found() -> None:
    mesh = Mesh("a", "b")
    twin = Mesh("a")
    ours = data_of(put_all(mesh, "a", wanted(1, 2, value=1)).records)
    theirs = data_of(put_all(twin, "a", wanted(1, 2, value=2)).records)
    assert deliver(mesh, "b", ours, "a") == []
    assert deliver(mesh, "b", theirs, "a") == ["fork", "fork"]


def test_each_write_of_a_turn_has_an_outcome_of_its_own() -> None:
    mesh = Mesh("a", "b")
    mesh.authority.denied.append((mesh.nodes["a"].id, "Thing/default/d2"))
    writes = [*wanted(1, 2, 3), Wanted("Thing", "default", "a/b", {}), *wanted(1, value=2), *wanted(3)]
    made = put_all(mesh, "a", writes)
    told = [type(each) if isinstance(each, LocalError) else (each.created, each.unchanged) for each in made.outcomes]
    assert told == [(True, False), Denied, (True, False), Invalid, (False, False), (False, True)]
    assert len(made.records) == 3
    found = mesh.nodes["a"].documents.get("Thing", "default", "d1")
    assert found is not None and found.fields["v"] == 2
    mesh.link("a", "b")
    mesh.settle()
    assert len(mesh.roots()) == 1


def test_nothing_to_write_asks_for_nothing() -> None:
    mesh = Mesh("a")
    put_all(mesh, "a", wanted(1))
    made = put_all(mesh, "a", wanted(1))
    assert (made.records, made.effects, [isinstance(each, Change) for each in made.outcomes]) == ((), (), [True])


def test_what_a_full_disk_did_not_take_is_kept_with_the_next_write_of_its_document() -> None:
    mesh = Mesh("a")
    mesh.nodes["a"].disk_full = True
    put_all(mesh, "a", wanted(1, 2))
    mesh.nodes["a"].disk_full = False
    assert len(put_all(mesh, "a", [*wanted(1), *wanted(2, value=2)]).records) == 3
    mesh.restart("a")
    assert mesh.nodes["a"].documents.count() == 2


def test_lazy_writes_of_a_turn_are_told_at_once() -> None:
    mesh = Mesh("a", "b")
    mesh.link("a", "b")
    mesh.settle()
    made = mesh.nodes["a"].documents.put_all(wanted(1, 2), mesh.now, lazily=True)
    (told,) = [each for each in made.at_once if isinstance(each, Send)]
    letter = letters.decode(told.body)
    assert isinstance(letter, Envelopes) and letter.lazy and len(letter.items) == 2
    assert len(made.records) == 2


def test_what_this_node_does_not_want_is_refused_alone() -> None:
    mesh = Mesh("a")
    mesh.nodes["a"].documents.narrow("a", Interest((), ("west",)))
    regions = [Wanted("Thing", "default", each, {"labels": {"region": each}}) for each in ("east", "west")]
    foreign, ours = put_all(mesh, "a", regions).outcomes
    assert isinstance(foreign, NotHeld)
    assert isinstance(ours, Change) and ours.created
