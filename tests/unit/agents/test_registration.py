"""Who may register as a unit, and who is refused by name."""

import pytest

from meshnode.agents.messages import (
    SkillsOffered,
)
from meshnode.wire.calls import RegisterHeader, SkillDescription
from tests.unit.agents.story import COUNT, WORDS, Story, refusal, running


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"header": RegisterHeader("words", WORDS, "0" * 32, 100)}, "wrong-ticket"),
        ({"pid": 999}, "foreign-process"),
        ({"header": RegisterHeader("words", "words/1", "", 100)}, "unknown-instance"),
        ({"skills": (COUNT, COUNT)}, "skill-twice"),
        ({"skills": (SkillDescription("no spaces please"),)}, "skill-name"),
        ({"skills": (SkillDescription("x", input_schema="x" * 70_000),)}, "skill-too-long"),
        ({"skills": tuple(SkillDescription(f"s{n}") for n in range(257))}, "too-many-skills"),
    ],
)
def test_a_registration_that_is_not_ours_is_refused_by_name(changes: dict[str, object], reason: str):
    story = Story()
    story.run()
    story.started()
    effects = story.register(**changes)
    assert refusal(effects) == reason
    assert not any(isinstance(e, SkillsOffered) for e in effects)
    assert refusal(story.register(conn=2)) == "", "the right process can still register"


@pytest.mark.parametrize(("hooks", "reason"), [(["k"] * 257, "too-many-hooks"), ([""], "hook-name")])
def test_merge_functions_are_counted_and_measured(hooks: list[str], reason: str):
    story = Story()
    story.run()
    story.started()
    header = RegisterHeader("words", WORDS, story.last_start().ticket, 100, hooks=hooks)
    assert refusal(story.register(header=header)) == reason


def test_a_registration_before_the_process_is_known_is_refused():
    story = Story()
    story.run()
    assert refusal(story.register()) == "foreign-process"


def test_a_descendant_of_the_started_process_may_register():
    story = Story()
    story.run()
    story.started(pid=100)
    assert refusal(story.register(pid=102, lineage=(101, 100, 1))) == ""


def test_a_second_registration_of_one_run_is_refused():
    story = running()
    assert refusal(story.register(conn=2)) == "already-registered"


def test_tickets_of_two_runs_differ_and_an_old_one_is_refused():
    story = running()
    old = story.last_start().ticket
    story.exited()
    story.pass_to_deadline()
    story.started(pid=200)
    assert story.last_start().ticket != old
    stale = RegisterHeader("words", WORDS, old, 200)
    assert refusal(story.register(pid=200, header=stale)) == "wrong-ticket"
