"""A node that does not take what it is given, by a fault or by a rule, is not given it again and again at once."""

from collections import Counter
from collections.abc import Callable
from functools import partial

import pytest

from meshnode.crdt import letters
from meshnode.crdt.gate import Admitted
from meshnode.crdt.intake import Intake, Placed
from meshnode.crdt.letters import Envelopes
from meshnode.crdt.replica import DocumentsConfig
from meshnode.crdt.store import AutomergeStore, StateStore
from meshnode.model.ids import NodeId
from tests.faults.planted import OneSided
from tests.unit.crdt.ports import Mesh, Table

MINUTE_S = 60.0
ROUNDS = 15  # of repair, in a minute; each node opens one
NAMES = ("a", "b", "c")
LARGE = DocumentsConfig(generation_changes=10_000, generation_bytes=1 << 30)


def met(mesh: Mesh) -> Mesh:
    for a, b in (("a", "b"), ("a", "c"), ("b", "c")):
        mesh.link(a, b)
    mesh.settle()
    return mesh


def one_sided(me: NodeId) -> Callable[[], StateStore]:
    return lambda: OneSided(AutomergeStore(), me)  # type: ignore[return-value]


def forgetful_mesh() -> Mesh:
    """Node b says that it took the later writes of others, and did not."""
    mesh = Mesh(*NAMES)
    node = mesh.nodes["b"]
    node.store = one_sided(node.id)
    node.start()
    met(mesh)
    mesh.put("a", "x", {"v": 1})
    mesh.settle()
    return mesh


def given_to(mesh: Mesh, name: str) -> Counter[bytes]:
    """How often each envelope was."""
    found: Counter[bytes] = Counter()
    for _, to, body in mesh.log:
        letter = letters.decode(body)
        if to == name and isinstance(letter, Envelopes):
            found.update(letter.items)
    return found


def test_a_write_that_a_store_loses_is_given_again_once_a_round_and_not_told_on() -> None:
    mesh = forgetful_mesh()
    mesh.put("a", "x", {"v": 2})
    mesh.settle()
    mesh.run(MINUTE_S)
    assert max(given_to(mesh, "b").values()) <= 3 * ROUNDS
    lost = mesh.nodes["b"].documents.counters["applied"]
    assert lost == 1, "what is not there is not counted as taken, journalled or told"
    assert {each.reason for each in mesh.nodes["b"].rejects} == {"change-lost"}
    assert mesh.nodes["a"].documents.root() == mesh.nodes["c"].documents.root()


def test_a_node_that_believes_its_store_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: what the store took counts as progress, whatever it holds then."""
    apply = Intake._apply  # pyright: ignore[reportPrivateUsage]

    def believing(self: Intake, each: Admitted, placed: Placed, *, restored: bool) -> bool:
        taken = apply(self, each, placed, restored=restored)
        if not taken and placed.refused and placed.refused[-1][1].reason == "change-lost":
            placed.refused.pop()
            placed.applied.append(each)
            return True
        return taken

    monkeypatch.setattr(Intake, "_apply", believing)
    mesh = forgetful_mesh()
    mesh.put("a", "x", {"v": 2})
    mesh.settle()
    monkeypatch.setattr(mesh, "settle", partial(mesh.settle, messages_max=500))
    with pytest.raises(AssertionError, match="never fall silent"):
        mesh.run(MINUTE_S)


def test_a_long_document_that_a_node_refuses_is_not_asked_for_without_end() -> None:
    """Its answer has no room for all of it: what was left out is asked for at once only while that gets us on."""
    mesh = Mesh("a", "b", config=LARGE)
    refusing = mesh.nodes["b"]
    refusing.authority = Table((mesh.nodes["a"].id, "Thing/default/x"))
    refusing.start()
    for number in range(20):
        mesh.put("a", "x", {f"v{number}": noise(number)})
    mesh.put("a", "y", {"v": 1})
    mesh.settle()
    mesh.link("a", "b")
    mesh.settle(messages_max=200)
    assert refusing.documents.get("Thing", "default", "y") is not None, "what follows it is given all the same"
    assert refusing.documents.get("Thing", "default", "x") is None


def noise(number: int) -> str:
    """30 KiB that no deflation makes small."""
    state, text = number + 1, list[str]()
    for _ in range(3_000):
        state = state * 6_364_136_223_846_793_005 % 2**64 + 1
        text.append(f"{state:020}"[-10:])
    return "".join(text)


def test_what_comes_behind_a_refusal_in_an_answer_is_not_asked_for_once_more_by_each_of_its_letters(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Two sides whose writes together are more than a document may have: each refuses the other's last ones."""
    monkeypatch.setattr(letters, "LETTER_BYTES_MAX", 3_000)
    monkeypatch.setattr("meshnode.crdt.exchange._ANSWER_BYTES_MAX", 30_000)
    mesh = Mesh("a", "b", config=LARGE, store=partial(AutomergeStore, changes_max=150))
    for name in ("a", "b"):
        for number in range(100):
            mesh.put(name, "hot", {name: number})
    payload = sum(len(record.body) for node in mesh.nodes.values() for record in node.journal.values())
    mesh.link("a", "b")
    mesh.settle()
    assert {each.reason for node in mesh.nodes.values() for each in node.rejects} == {"document-full"}
    assert mesh.sent_bytes < 2 * payload


def test_who_brings_more_than_it_may_is_asked_for_the_rest_when_it_may_again() -> None:
    """And not at once, again and again: what is refused was sent for nothing."""
    mesh = Mesh("a", "b", config=DocumentsConfig(rate_burst=60, rate_per_s=60))
    for number in range(200):
        mesh.put("a", f"d{number}", {"v": number, "text": "x" * 500})
    payload = sum(len(record.body) for record in mesh.nodes["a"].journal.values())
    mesh.link("a", "b")
    mesh.settle()
    assert 0 < mesh.nodes["b"].documents.count() < 200
    mesh.run(6)
    assert len(mesh.roots()) == 1
    assert mesh.sent_bytes < 3.5 * payload  # 4.6 as it was
