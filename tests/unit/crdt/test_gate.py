"""What a peer may not do to a document: each refusal by its name, and nothing changed by it."""

from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from meshnode.crdt import change, envelope, letters
from meshnode.crdt.envelope import Envelope, actor_of, doc_id_of
from meshnode.crdt.guard import Engine
from meshnode.crdt.letters import Envelopes
from meshnode.crdt.replica import DocumentsConfig
from meshnode.crdt.store import AutomergeStore
from meshnode.kernel.effects import Channel, Note, Persist
from meshnode.kernel.instant import ClockTrust, Instant
from meshnode.links.messages import ControlReceived
from meshnode.model.errors import RemoteError
from meshnode.model.ids import DocId
from tests.unit.crdt import chunks
from tests.unit.crdt.ports import START_MS, KeySigner, Mesh, Node, Register, Table, instant

HLC = START_MS << 16
NAMES = ("Thing", "default", "x")
DOC = doc_id_of(*NAMES)
ALICE, BOB, CAROL, EVE = (KeySigner(name) for name in ("alice", "bob", "carol", "eve"))


def receiver(**options: object) -> Node:
    return Node("bob", Register(ALICE, BOB), Table(), **options)  # pyright: ignore[reportArgumentType]


def chunk_of(
    *,
    seq: int = 1,
    fields: dict[str, str | None] | None = None,
    doc: DocId = DOC,
    signer: KeySigner = ALICE,
    **header: object,
) -> bytes:
    wanted = {"v": "1", "updated_hlc": str(HLC)} if fields is None else fields
    return chunks.change(wanted, actor=actor_of(signer.public_key, doc, 1), seq=seq, **header)


def sealed(signer: KeySigner = ALICE, *, by: KeySigner | None = None, **changed: object) -> bytes:
    """An envelope of ``signer``'s, with some fields replaced, signed by ``by``."""
    fields: dict[str, object] = {
        "version": 1, "doc": DOC, "kind": NAMES[0], "namespace": NAMES[1], "name": NAMES[2], "author": signer.node,
        "boot": 1, "seq": 1, "hlc": HLC, "changes": [chunk_of(signer=signer)],
    }  # fmt: skip
    return envelope.seal(Envelope(**{**fields, **changed}), by or signer)  # pyright: ignore[reportArgumentType]


def deliver(node: Node, *items: bytes, now: Instant | None = None, via: KeySigner = ALICE) -> list[str]:
    """Names of the refusals; all else the room wants is done."""
    body = letters.encode(Envelopes(list(items), eager=True))
    before = len(node.rejects)
    now = now or instant()
    node.perform(node.documents.handle(ControlReceived(via.node, Channel.STATE, body), now), now)
    assert all(each.peer == via.node for each in node.rejects[before:])
    return [each.reason for each in node.rejects[before:]]


def refused(data: bytes, node: Node | None = None, **options: object) -> str:
    """The one name under which ``data`` is refused, and that it changed nothing."""
    node = node or receiver()
    root, journal = node.documents.root(), dict(node.journal)
    (reason,) = deliver(node, data, **options)  # pyright: ignore[reportArgumentType]
    assert (node.documents.root(), node.journal, node.facts) == (root, journal, [])
    return reason


def test_an_honest_envelope_is_applied_kept_and_told() -> None:
    node = receiver()
    assert deliver(node, sealed()) == []
    document = node.documents.get(*NAMES)
    assert document is not None
    assert (document.fields, document.updated_by, document.updated_hlc) == ({"v": 1}, ALICE.node, HLC)
    assert [(fact.name, fact.by, fact.remote) for fact in node.facts] == [("x", ALICE.node, True)]
    assert len(node.journal) == 1


def test_the_same_envelope_again_is_neither_refused_nor_written_twice() -> None:
    node = receiver()
    deliver(node, sealed())
    writes = node.writes
    assert deliver(node, sealed(), sealed()) == []
    assert (node.writes, len(node.facts)) == (writes, 1)


def test_an_envelope_over_the_limit_is_refused_before_it_is_read() -> None:
    assert refused(b"\x00" * (envelope.ENVELOPE_BYTES_MAX + 1)) == "envelope-size"


@pytest.mark.parametrize(
    "data", [b"", b"\x92", b"\x93\x00\x00\x00", b"\x92\xc4\x01\x00\xc4\x01\x00", b"\xdf" * 99, b"\x91" * 9000]
)
def test_junk_is_refused_as_junk(data: bytes) -> None:
    assert refused(data) == "envelope-frame"


def test_an_envelope_with_more_or_other_fields_is_refused() -> None:
    body = msgspec.msgpack.encode([1, DOC, *NAMES, ALICE.node, 1, 1, HLC, [chunk_of()], "more"])
    assert refused(msgspec.msgpack.encode([body, ALICE.sign("change/v1", body)])) == "envelope-frame"
    assert refused(sealed(seq=-1)) == "envelope-frame"
    assert refused(sealed(hlc=1 << 63)) == "envelope-frame"
    assert refused(sealed(changes=[])) == "envelope-frame"
    assert refused(sealed(changes=[b"x"] * 101)) == "envelope-frame"
    assert refused(sealed(version=3)) == "envelope-version"
    assert refused(sealed(version=2)) == "envelope-frame"  # a generation needs a root
    assert refused(sealed(version=2, generation=1, root=b"r" * 31)) == "envelope-frame"


def test_an_envelope_of_a_generation_not_begun_here_is_no_fault_and_its_root_is_asked_for() -> None:
    node = receiver()
    body = letters.encode(Envelopes([sealed(version=2, generation=1, root=b"r" * 32)], eager=True))
    effects = node.documents.handle(ControlReceived(ALICE.node, Channel.STATE, body), instant())
    (asked,) = node.perform(effects, instant())
    letter = letters.decode(asked.body)
    assert isinstance(letter, letters.Clocks)
    assert [doc for doc, _, _ in letter.docs] == [DOC]
    assert (node.rejects, node.documents.count(), node.documents.counters["root-unknown"]) == ([], 0, 1)


@pytest.mark.parametrize("name", ["", "a/b", "a\nb", "x" * 254, "\u202e"])
def test_names_that_could_be_mistaken_are_refused(name: str) -> None:
    doc = doc_id_of("Thing", "default", name)
    assert refused(sealed(name=name, doc=doc)) == "envelope-names"


def test_a_write_cannot_be_replayed_into_another_document() -> None:
    """Neither by moving the envelope, nor by wrapping the change of one document into an envelope of another."""
    assert refused(sealed(name="y")) == "envelope-binding"
    assert refused(sealed(doc=doc_id_of("Thing", "default", "y"))) == "envelope-binding"
    moved = sealed(name="y", doc=doc_id_of("Thing", "default", "y"), changes=[chunk_of(doc=DOC)])
    assert refused(moved) == "wrong-actor"


@pytest.mark.parametrize("named", [{"kind": "Other"}, {"namespace": "other"}, {"name": "y"}, {"name": "a/b"}])
def test_a_document_that_is_here_is_not_written_under_other_names(named: dict[str, str]) -> None:
    """Who may write those could write it: names are what the policy is asked about."""
    node = receiver()
    assert deliver(node, sealed()) == []
    node.facts.clear()
    changes = [chunk_of(seq=2)]
    assert refused(sealed(seq=2, changes=changes, **named), node).startswith("envelope-")


def test_a_forged_author_is_refused() -> None:
    """Eve signs with her key and claims to be alice."""
    assert refused(sealed(ALICE, by=EVE)) == "bad-signature"


def test_a_write_in_the_actor_of_somebody_else_is_refused() -> None:
    """Alice signs in her own name a change made in bob's."""
    stolen = sealed(ALICE, changes=[chunk_of(signer=BOB)])
    assert refused(stolen) == "wrong-actor"
    assert refused(sealed(ALICE, boot=2)) == "wrong-actor"


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_no_altered_byte_gets_past_the_signature(data: st.DataObject) -> None:
    good = sealed()
    at = data.draw(st.integers(0, len(good) - 1))
    bad = bytearray(good)
    bad[at] ^= data.draw(st.integers(1, 255))
    node = receiver()
    refusals = deliver(node, bytes(bad))
    assert len(refusals) + node.documents.awaiting() == 1  # of an altered author nobody knows who that may be
    assert node.documents.count() == 0


def test_what_the_policy_denies_is_refused_even_with_a_good_signature() -> None:
    node = receiver()
    node.authority.denied.append((ALICE.node, "Thing/default/x"))
    assert refused(sealed(), node) == "denied"
    node.authority.denied.clear()
    assert deliver(node, sealed()) == []


@pytest.mark.parametrize(
    ("cut", "via", "refusals"),
    [
        (HLC, EVE, []),  # written before its authority shrank: whoever brings it
        (HLC - 1, EVE, ["denied"]),
        (HLC - 1, ALICE, ["denied"]),
        (HLC - 1, CAROL, []),  # she may write it, and had it before she knew
        (None, CAROL, ["denied"]),
    ],
)  # fmt: skip
def test_what_an_author_wrote_since_its_authority_shrank_comes_in_by_a_writer_of_the_document_alone(
    cut: int | None, via: KeySigner, refusals: list[str]
) -> None:
    resource = "/".join(NAMES)
    trust, authority = Register(ALICE, BOB, CAROL, EVE), Table((ALICE.node, resource), (EVE.node, resource))
    node = Node("bob", trust, authority)
    node.documents.heed(lambda author, asked: cut if (author, asked) == (ALICE.node, resource) else None)
    assert deliver(node, sealed(), via=via) == refusals
    assert node.documents.count() == (not refusals)


def test_two_writes_under_one_number_are_a_fork_noted_against_their_author() -> None:
    node = receiver()
    deliver(node, sealed())
    twin = sealed(changes=[chunk_of(fields={"v": "2", "updated_hlc": str(HLC)})])
    assert deliver(node, twin) == ["fork"]
    assert [(note.subject, "one number" in note.text) for note in node.notes] == [("node/alice", True)]
    document = node.documents.get(*NAMES)
    assert document is not None
    assert document.fields == {"v": 1}


def test_a_fork_is_no_evidence_without_the_signature_of_its_author() -> None:
    node = receiver()
    deliver(node, sealed())
    forged = sealed(by=EVE, changes=[chunk_of(fields={"v": "2", "updated_hlc": str(HLC)})])
    assert deliver(node, forged) == ["bad-signature"]
    assert node.notes == []


def test_a_stamp_too_far_ahead_is_refused_and_one_just_below_is_not() -> None:
    def at(ahead_ms: int) -> bytes:
        stamp = (START_MS + ahead_ms) << 16
        return sealed(hlc=stamp, changes=[chunk_of(fields={"v": "1", "updated_hlc": str(stamp)})])

    assert refused(at(600_001)) == "hlc-ahead"
    assert deliver(receiver(), at(600_000)) == []


def test_a_machine_that_booted_in_1970_does_not_refuse_the_mesh() -> None:
    assert deliver(receiver(), sealed(), now=instant(trust=ClockTrust.FLOOR, wall_ms=0)) == []
    assert deliver(receiver(), sealed(), now=instant(trust=ClockTrust.PEERS, wall_ms=0)) == ["hlc-ahead"]


def test_a_change_without_the_stamp_of_its_envelope_is_refused() -> None:
    for fields in (
        {"v": "1"},
        {"v": "1", "updated_hlc": str(HLC + 1)},
        {"v": "1", "updated_hlc": "null"},
        {"v": "1", "updated_hlc": None},
        {"v": "1", "updated_hlc": str(HLC), "deleted_at": "1"},
    ):
        assert refused(sealed(changes=[chunk_of(fields=dict(fields))])) == "stamp"


@pytest.mark.parametrize(
    "text",
    ["", "{", "NaN", "1.0e1", '{"b":1,"a":2}', '{"a": 1}', '"\\u00e9"', "[" * 33 + "]" * 33, "[" * 5000, "1e999"],
)
def test_values_that_are_no_canonical_json_are_refused(text: str) -> None:
    assert refused(sealed(changes=[chunk_of(fields={"v": text, "updated_hlc": str(HLC)})])) == "change-content"


def test_field_names_with_control_characters_are_refused() -> None:
    assert refused(sealed(changes=[chunk_of(fields={"v\n": "1", "updated_hlc": str(HLC)})])) == "change-content"


def test_an_envelope_that_names_another_sequence_than_its_change_is_refused() -> None:
    assert refused(sealed(seq=2)) == "sequence"
    assert refused(sealed(seq=2, changes=[chunk_of(seq=2)])) == "sequence"  # the first of this actor cannot be number 2


def test_a_start_number_that_would_always_win_is_refused() -> None:
    assert refused(sealed(changes=[chunk_of(start_op=1_000_000)])) == "change-start-op"


def test_a_change_that_replaces_a_write_it_cannot_have_seen_is_refused() -> None:
    """Bob and alice write at the same time; alice's change claims to replace bob's without standing on it."""
    node = receiver()
    assert deliver(node, sealed(BOB)) == []
    columns = chunks.columns_of({"v": "9", "updated_hlc": str(HLC)})
    columns[0x70] = chunks.literals(chunks.uleb(1), chunks.uleb(0))
    columns[0x71], columns[0x73] = chunks.run(1, chunks.uleb(1)), chunks.run(1, chunks.sleb(1))
    sorted_columns = dict(sorted(columns.items()))
    actors = {"actor": actor_of(ALICE.public_key, DOC, 1), "others": [actor_of(BOB.public_key, DOC, 1)]}
    thief = chunks.chunk(chunks.body(sorted_columns, **actors))  # pyright: ignore[reportArgumentType]
    assert deliver(node, sealed(changes=[thief])) == ["change-pred"]
    assert deliver(node, sealed(changes=[chunk_of()])) == []


def test_a_change_that_replaces_a_write_of_another_field_is_refused() -> None:
    node = receiver()
    deliver(node, sealed(BOB))
    (head,) = node.documents._store.heads(DOC)
    columns = chunks.columns_of({"v": "9", "updated_hlc": str(HLC + 1)})
    columns[0x70] = chunks.literals(chunks.uleb(1), chunks.uleb(0))
    columns[0x71], columns[0x73] = chunks.run(1, chunks.uleb(1)), chunks.run(1, chunks.sleb(2))  # 2 is updated_hlc
    header = {
        "actor": actor_of(ALICE.public_key, DOC, 1),
        "others": [actor_of(BOB.public_key, DOC, 1)],
        "deps": [head],
        "start_op": 3,
    }
    mixed = chunks.chunk(chunks.body(dict(sorted(columns.items())), **header))  # pyright: ignore[reportArgumentType]
    assert deliver(node, sealed(hlc=HLC + 1, changes=[mixed])) == ["change-pred"]


def test_a_hostile_chunk_in_a_well_signed_envelope_never_reaches_the_engine() -> None:
    bomb = chunks.chunk(chunks.body(chunks.columns_of({"a": "x" * (16 << 20)})), kind=2)
    assert refused(sealed(changes=[bomb])) == "change-inflate"
    columns = chunks.columns_of({"v": "1", "updated_hlc": str(HLC)})
    columns[0x56] = chunks.literals(chunks.uleb(1 << 4 | 8), chunks.uleb(len(str(HLC)) << 4 | 6))
    counter = chunks.chunk(chunks.body(columns, actor=actor_of(ALICE.public_key, DOC, 1)))
    assert refused(sealed(changes=[counter])) == "change-value"


def batch(count: int, actor: bytes) -> Sequence[bytes]:
    """Changes of one actor, each on top of the other, as the engine writes them."""
    engine, made = Engine(), list[bytes]()
    for number in range(count):
        fields = {"v": str(number), "updated_hlc": str(HLC - count + 1 + number)}
        made.append(engine.draft(actor, fields))
        engine.apply([change.parse(made[-1])], fields)
    return made


def test_up_to_a_hundred_changes_travel_under_one_signature() -> None:
    node = receiver()
    made = batch(100, actor_of(ALICE.public_key, DOC, 1))
    assert deliver(node, sealed(changes=made)) == []
    document = node.documents.get(*NAMES)
    assert document is not None
    assert (document.fields, document.changes, len(node.journal)) == ({"v": 99}, 100, 1)
    node.start()
    assert node.documents.get(*NAMES) == document


def test_a_batch_is_applied_whole_or_not_at_all() -> None:
    made = batch(5, actor_of(ALICE.public_key, DOC, 1))
    assert refused(sealed(changes=[made[0], made[1], made[3]])) == "sequence"
    other = batch(2, actor_of(BOB.public_key, DOC, 1))
    assert refused(sealed(changes=[made[0], other[1]])) == "wrong-actor"
    unchained = chunk_of(seq=2, fields={"w": "1", "updated_hlc": str(HLC)})
    assert refused(sealed(changes=[chunk_of(), unchained])) == "batch"


def test_a_relay_that_forges_spends_its_own_allowance_and_not_the_authors() -> None:
    node = receiver(config=DocumentsConfig(rate_per_s=1, rate_burst=10))
    node.trust.add(EVE)
    forged = sealed(by=EVE)
    reasons = deliver(node, *[forged] * 20, via=EVE)
    assert (reasons.count("bad-signature"), reasons.count("rate-peer")) == (10, 10)
    assert deliver(node, sealed(), via=ALICE) == []


def test_an_author_that_floods_is_slowed_down_and_its_allowance_fills_again() -> None:
    node = receiver(config=DocumentsConfig(rate_per_s=2, rate_burst=3))
    docs = [doc_id_of("Thing", "default", f"d{number}") for number in range(5)]
    flood = [
        sealed(name=f"d{number}", doc=doc, changes=[chunk_of(doc=doc)]) for number, doc in enumerate(docs)
    ]  # fmt: skip
    for number, each in enumerate(flood):
        node.trust.add(KeySigner(f"relay{number}"))
        reasons = deliver(node, each, via=KeySigner(f"relay{number}"))
        assert reasons == ([] if number < 3 else ["rate-author"])
    assert deliver(node, flood[3], flood[4], now=instant(1.0)) == []


def test_a_document_at_its_limit_says_so_and_the_others_go_on() -> None:
    node = receiver(store=lambda: AutomergeStore(changes_max=2, documents_max=2))
    made = batch(3, actor_of(ALICE.public_key, DOC, 1))
    assert refused(sealed(changes=made), node) == "document-full"
    for name in ("d1", "d2"):
        doc = doc_id_of("Thing", "default", name)
        assert deliver(node, sealed(name=name, doc=doc, changes=[chunk_of(doc=doc)])) == []
    assert deliver(node, sealed()) == ["documents-full"]


def test_our_own_lost_writes_come_back_from_peers_though_nobody_else_could_send_them() -> None:
    node = receiver()
    assert deliver(node, sealed(BOB)) == []
    document = node.documents.get(*NAMES)
    assert document is not None
    assert document.updated_by == BOB.node
    assert [fact.remote for fact in node.facts] == [False]


def test_letters_are_refused_by_name() -> None:
    mesh = Mesh("a", "b")
    for body in (b"", b"\xc1", b"\x91\xa6clocks", msgspec.msgpack.encode(["nobody"]), b"\x92" * 10_000):
        with pytest.raises(RemoteError, match="state-letter"):
            letters.decode(body)
    with pytest.raises(RemoteError, match="state-letter-size"):
        letters.decode(b"\0" * (letters.RECEIVED_BYTES_MAX + 1))
    for odd in (
        letters.Clocks([(b"short", b"v", {})]),
        letters.Clocks([(DOC, b"v", {b"actor": 1})]),
        letters.Clocks([(DOC, b"v" * 33, {})]),
        letters.Clocks([(DOC, b"v", {bytes((n >> 8, n & 255)) * 8: 1 for n in range(4096)})]),
        Envelopes([], rest=[b"r"]),
        Envelopes([], rest=[DOC] * 513),
        Envelopes([b""] * 2000),
    ):
        with pytest.raises(RemoteError, match="state-letter"):
            letters.decode(letters.encode(odd))
    node = mesh.nodes["a"]
    effects = node.documents.handle(ControlReceived(mesh.nodes["b"].id, Channel.STATE, b"\xc1"), mesh.now)
    assert [type(each).__name__ for each in effects] == ["Reject"]


def test_a_fact_and_a_forward_leave_only_behind_the_commit() -> None:
    mesh = Mesh("bob", "carol")
    mesh.trust.add(ALICE)
    mesh.link("bob", "carol")
    mesh.settle()
    body = letters.encode(Envelopes([sealed()], eager=True))
    effects = mesh.nodes["bob"].documents.handle(ControlReceived(ALICE.node, Channel.STATE, body), mesh.now)
    (persist,) = effects
    assert isinstance(persist, Persist)
    assert [type(each).__name__ for each in persist.then] == ["EnvelopesKept", "Send", "DocumentChanged"]
    assert not any(isinstance(each, Note) for each in effects)
