"""What a long run keeps, and what is told of it."""

from pathlib import Path

import msgspec

from bench.gossip import longrun
from bench.gossip.longrun import Outcome, Stretch, kept, latest, summed, told


def stretch(kind: str, commit: str, first: int, last: int, why: str = "") -> Stretch:
    outcomes = [Outcome(seed, why if seed == last else "", 1.5, 10) for seed in range(first, last + 1)]
    return summed(kind, commit, outcomes, 2.0, 1.25)


def test_stretches_of_one_commit_add_up_and_older_commits_do_not_count(tmp_path: Path) -> None:
    path = tmp_path / "sim.json"
    assert kept(path) == [] and latest("hours", path) == [] and told("hours", path) == ""
    done = [
        stretch("hours", "old", 0, 9), stretch("cuts", "new", 0, 4), stretch("hours", "new", 0, 3),
        stretch("hours", "new", 4, 5, "a false death"),
    ]  # fmt: skip
    path.write_bytes(msgspec.json.encode(done))
    assert kept(path) == done
    assert [each.first for each in latest("hours", path)] == [0, 4]
    assert "on new" in told("hours", path)
    assert "9 node-hours in 6 seeds, 1 failed" in told("hours", path)
    assert latest("hours", path)[1].failed == ((5, "a false death"),)


def test_a_run_plays_seeds_in_their_order_and_ends_in_time() -> None:
    assert list(longrun.play("hours", 0, 4, minutes=-1.0, workers=1)) == []
    cuts = list(longrun.play("cuts", 5, 1, minutes=1.0, workers=1))
    assert [outcome.seed for outcome in cuts] == [5] and not cuts[0].why
