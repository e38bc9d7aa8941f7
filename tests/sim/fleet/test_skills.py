"""A skill that ran for ten seconds is found from every region; a fault in what tells of it does not go unnoticed."""

import pytest

from meshnode.gossip.catalogue import Catalogue
from meshnode.kernel.instant import Instant
from meshnode.sim.fleet import skills

NODES, REGIONS, SECONDS = 72, 4, 32.0


def test_a_skill_that_runs_is_found_from_everywhere() -> None:
    found = skills.skills(3, NODES, SECONDS, REGIONS)
    assert found.asked > 1_000, found
    assert found.not_found == 0, found
    assert found.unanswered <= found.asked // 100, found


def test_spokesmen_who_say_nothing_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    def silent(_self: Catalogue, _rank: int, _now: Instant) -> list[bytes]:
        return []

    monkeypatch.setattr(Catalogue, "_speak", silent)
    found = skills.skills(3, NODES, 14.0, REGIONS)
    assert found.not_found + found.unsure > found.asked // 4, found


def test_a_skill_that_moved_and_that_nobody_tells_of_again_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What spokesmen said in the first seconds stands for ever."""

    def once(self: Catalogue, rank: int, now: Instant) -> list[bytes]:
        return speak(self, rank, now) if now.mono_us < 33_000_000 else []

    speak = Catalogue._speak  # pyright: ignore[reportPrivateUsage]
    monkeypatch.setattr(Catalogue, "_speak", once)
    found = skills.skills(3, NODES, SECONDS, REGIONS)
    assert found.not_found + found.unanswered > 0, found
