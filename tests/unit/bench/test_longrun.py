"""What a long run keeps, and what is told of it."""

from pathlib import Path

import msgspec

from bench.gossip import longrun
from bench.gossip.longrun import Outcome, Stretch, kept, latest, summed, told


def stretch(kind: str, commit: str, first: int, last: int, why: str = "") -> Stretch:
    outcomes = [Outcome(seed, why if seed == last else "", 1.5, 10) for seed in range(first, last + 1)]
    return summed(kind, commit, outcomes, 2.0, 1.25)


def test_stretches_that_go_on_add_up_and_those_before_a_new_beginning_do_not_count(tmp_path: Path) -> None:
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


def test_seeds_of_several_commits_add_up_and_each_is_told_with_its_share(tmp_path: Path) -> None:
    path = tmp_path / "sim.json"
    done = [stretch("cuts", "one", 0, 9), stretch("hours", "one", 0, 1), stretch("cuts", "two", 10, 12)]
    path.write_bytes(msgspec.json.encode(done))
    assert sum(each.seeds for each in latest("cuts", path)) == 13
    assert told("cuts", path).startswith("long run on one (10 seeds), two (3 seeds)")
    assert "13 seeds, 0 failed" in told("cuts", path)


def test_what_was_played_so_far_is_kept_and_the_next_call_goes_on_after_it(tmp_path: Path) -> None:
    path = tmp_path / "sim.json"
    path.write_bytes(msgspec.json.encode([stretch("cuts", "one", 0, 4)]))
    words = ["cuts", "--seeds", "1", "--minutes", "1", "--commit", "two", "--onward", "--out", str(path)]
    assert longrun.main(words) == 0
    assert longrun.main(words) == 0
    assert [(each.commit, each.first, each.last) for each in latest("cuts", path)] == [
        ("one", 0, 4), ("two", 5, 5), ("two", 6, 6),
    ]  # fmt: skip


def test_a_run_plays_seeds_in_their_order_and_ends_in_time() -> None:
    assert list(longrun.play("hours", 0, 4, minutes=-1.0, workers=1)) == []
    cuts = list(longrun.play("cuts", 5, 1, minutes=1.0, workers=1))
    assert [outcome.seed for outcome in cuts] == [5] and not cuts[0].why
