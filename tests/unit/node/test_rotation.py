"""Whole nodes while a certificate is renewed."""

import pytest

from meshnode.kernel.instant import MS, SECOND
from meshnode.links.hub import Hub
from meshnode.model.commands import CallSkill, GetIdentity
from meshnode.model.views import CallView, IdentityView
from meshnode.security.messages import LeafRenewed
from tests.real.cutting_daemon import cutting
from tests.unit.node.mesh import NOW_MS, Mesh

DAY_MS = 24 * 3_600_000
RENEWED = LeafRenewed("cd" * 32, NOW_MS, NOW_MS + 7 * DAY_MS)


def renewed_under_calls() -> list[str]:
    """What went wrong when both ends renew while one calls the other every 4 ms."""
    mesh = Mesh()
    ann, bob = mesh.start("ann", "bob")
    mesh.run_agent(bob, "words", "words.count")
    asked: list[int] = []
    for turn in range(1_500):
        asked.append(ann.ask(CallSkill(skill="words.count", deadline_s=2.0)))
        if turn in (100, 700):
            (ann if turn == 100 else bob).tell(RENEWED)
        mesh.run(4 * MS)
    mesh.run(3 * SECOND)
    wrong = [str(ann.replies.get(number)) for number in asked if not _answered(ann.replies.get(number, []))]
    replaced = ann.core.hub.counters["link-replaced"]
    if replaced != 2:
        wrong.append(f"links taken over: {replaced}")
    told = [text for box in (ann, bob) for name in ("ann", "bob") for text in box.told(f"node/{name}")]
    return wrong + [text for text in told if "lost" in text]


def _answered(replies: list[object]) -> bool:
    return len(replies) == 1 and isinstance(replies[0], CallView)


def test_no_call_fails_while_both_ends_renew_their_certificates() -> None:
    assert renewed_under_calls() == []


def test_links_that_are_cut_for_a_renewal_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Hub, "renewed", cutting)
    assert renewed_under_calls() != []


def test_a_renewed_certificate_is_shown() -> None:
    mesh = Mesh()
    (ann,) = mesh.start("ann")
    ann.tell(RENEWED)
    view = ann.answer(GetIdentity())
    assert isinstance(view, IdentityView)
    assert (view.certificate_sha256, view.certificate_expires_ms) == (RENEWED.sha256, RENEWED.until_ms)
    assert any("certificate renewed" in text for text in ann.told("node/ann"))
