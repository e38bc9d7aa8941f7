"""A member that breaks the rules of gossip, as the operator of another node sees it: who, what, and what to do."""

from collections.abc import Sequence

import msgspec

from meshnode.gossip import directory, letters
from meshnode.gossip.directory import Row, Status
from meshnode.gossip.facts import CONTEXT as SOFT
from meshnode.gossip.facts import FactBody
from meshnode.gossip.letters import Doubt, Letter, Push, RowRumour, SignedFact, SignedRow, SoftBatch
from meshnode.kernel.effects import Channel, Reject, Send
from meshnode.kernel.instant import SECOND, Instant
from meshnode.links.messages import Expelled
from meshnode.model.commands import FindSkills, GetStatus, ListNodes
from meshnode.model.ids import NodeId
from meshnode.model.views import Failure, SkillsView, StatusView
from meshnode.node.refusals import AGAIN_US, KINDS_MAX, RECENT_US, SHOWN_MAX, Refusals, advice
from meshnode.registry.offers import LOAD_KEY
from tests.unit.node.mesh import Box, Mesh, signer_of
from tests.unit.security.world import member_record


def problems(box: Box) -> list[str]:
    view = box.answer(GetStatus())
    assert isinstance(view, StatusView)
    return view.problems


def say(mesh: Mesh, liar: Box, victim: Box, *said: Letter) -> None:
    """Letters over the liar's own link."""
    for letter in said:
        liar.take(liar.core._settle([Send(victim.node, Channel.GOSSIP, letters.encode(letter))], liar.now))
    mesh.run(SECOND)


def test_a_flood_is_a_problem_with_the_name_of_its_author_and_a_word_what_to_do() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    say(mesh, b, a, *([Doubt(9, 9)] * 12))
    (told,) = [text for text in a.told("node/beta") if "refused" in text]
    assert told.startswith("refused what it sent: flood-doubts (more than 4 a minute); no honest node sends so much")
    assert "end it there" in told
    assert [p for p in problems(a) if p == "beta is refused: flood-doubts, 8 times: meshnode why beta"]
    view = a.answer(GetStatus())
    assert isinstance(view, StatusView)
    assert view.counters["gossip.flood-doubts"] == view.counters["node.rejected-flood-doubts"] == 8
    mesh.run(RECENT_US + SECOND)
    assert not [p for p in problems(a) if "refused" in p], "what is over is no problem any more"


def test_two_nodes_under_one_name_are_told_apart_for_the_operator() -> None:
    """An invite used on both sides of a cut, or a stolen enroller."""
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    other = signer_of("another machine")
    body = directory.encode_row(Row(other.node, 1, 0, Status.ALIVE, (("h", 1),), b"{}", 0))
    row = SignedRow(body, other.sign(directory.CONTEXT, body), member_record("beta", other.public_key))
    say(mesh, b, a, Push(letters.encode(RowRumour(row))))
    (told,) = [text for text in a.told("node/beta") if "claim the name" in text]
    for part in ("two nodes claim the name beta", b.node.hex()[:12], other.node.hex()[:12], "meshnode invite --name"):
        assert part in told
    assert [p for p in problems(a) if "claim the name beta" in p]
    assert a.core.gossip.find_by_name("beta") == b.node
    assert a.core.counters["rejected-row-member-duplicate-name"] == 1
    assert len(a.core.gossip.members()) == 2


def test_one_liar_cannot_end_a_node_that_others_let_in() -> None:
    """The planted fault is the rule before: whoever is told that it is a twin's leaves."""
    mesh = Mesh()
    a, b, c = mesh.start("alpha", "beta", "gamma")
    a.take(a.core._settle([Expelled(b.node, "twin")], a.now))
    assert a.exit is None
    assert [text for text in a.told("node/beta") if "expelled-without-proof" in text and "gamma does not" in text]
    mesh.kill(c)
    mesh.run(SECOND)
    a.take(a.core._settle([Expelled(b.node, "twin")], a.now))
    assert a.exit is not None and a.exit.code == 4


def test_absurd_loads_and_offers_of_a_liar_break_no_view() -> None:
    mesh = Mesh()
    a, b = mesh.start("alpha", "beta")
    absurd: Sequence[tuple[str, bytes]] = (
        (LOAD_KEY, b"\xff" * 13), (LOAD_KEY, b"\xff" * 14), ("skill/x.y", b"\xc1"), ("skill/", b"v"),
        ("skill/" + "x" * 150, b"\x90"), ("agent/x", b"\x91\xc1"), ("agent/", b""), ("nothing/known", b"v"),
        ("\x1b[2J", b"v"),
    )  # fmt: skip
    for version, (key, value) in enumerate(absurd, start=1_000):
        body = msgspec.msgpack.encode(FactBody(b.node, b.core.boot, version, key, value))
        say(mesh, b, a, SoftBatch([SignedFact(0, body, b.signer.sign(SOFT, body))]))
    for command in (ListNodes(), GetStatus(), FindSkills()):
        assert not isinstance(a.answer(command), Failure)
    view = a.answer(FindSkills(skill="x.y"))
    assert isinstance(view, SkillsView) and view.items == []
    assert a.exit is None and a.core.gossip.reachable(b.node)


# -- what is told, and how often ---------------------------------------------------------------------------------------


def refusals() -> Refusals:
    return Refusals(lambda node: node.decode(), dict)


def at(us: int) -> Instant:
    return Instant(us, 1)


def test_a_refusal_that_comes_back_is_told_again_after_an_hour() -> None:
    held, reject = refusals(), Reject(NodeId(b"x"), "junk", "junk: more")
    assert held.refused(reject, at(0)) == [("node/x", "refused what it sent: junk (more)")]
    assert held.refused(reject, at(AGAIN_US - 1)) == []
    assert len(held.refused(reject, at(AGAIN_US))) == 1


def test_kinds_of_refusals_are_bounded_and_so_is_what_status_shows() -> None:
    held = refusals()
    for number in range(KINDS_MAX + 10):
        held.refused(Reject(NodeId(b"%d" % number), "flood-doubts"), at(0))
    shown = held.problems(at(1))
    assert len(shown) == SHOWN_MAX + 1 and shown[-1] == f"and {KINDS_MAX - SHOWN_MAX} more kinds of refusals"


def test_every_refusal_a_person_can_meet_has_a_next_step() -> None:
    for reason in (
        "flood-alerts", "flood-bytes", "row-forged", "soft-forged", "row-member-duplicate-name", "member-unknown-admin",
        "catalogue-foreign-author", "soft-too-many-keys", "letter-malformed", "whole-without-role",
    ):  # fmt: skip
        assert advice(reason), reason
    assert advice("junk") == ""
