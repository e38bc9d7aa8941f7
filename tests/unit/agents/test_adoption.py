"""A daemon was killed; its agents were not. What the next one does with them."""

import pytest

from meshnode.agents.messages import (
    AgentGone,
    AgentsStopped,
    FoundProcess,
    InstanceChanged,
    ProcessesFound,
    ProcessExited,
    Shutdown,
    SkillsOffered,
    StartProcess,
    StopProcess,
)
from meshnode.agents.runs import ADOPTED
from meshnode.model.ids import AgentConn, InstanceId
from meshnode.model.recipe import Recipe
from tests.unit.agents.story import COMMAND, OTHER, SDK_FILE, WORDS, Story, left_by, only, refusal, running


def after_a_crash(recipe: Recipe = COMMAND) -> tuple[Story, FoundProcess]:
    """The next daemon, and what the former one left."""
    found = left_by(running(recipe))
    return Story(found=found, seed=8), found[0]


def test_a_found_process_is_adopted_when_its_unit_is_wanted():
    story, process = after_a_crash()
    effects = story.run()
    changed = only(InstanceChanged, effects)
    assert changed == InstanceChanged(WORDS, WORDS.partition("/")[0], "starting", ADOPTED, process.pid, 0)
    assert story.starts() == 0 and not any(isinstance(e, StopProcess) for e in effects)
    effects = story.register_again(process)
    assert refusal(effects) == ""
    offered = only(SkillsOffered, effects)
    assert isinstance(offered, SkillsOffered)
    assert (offered.resumed, offered.merge_no, offered.hooks) == (True, 3, ("*",))
    assert story.state() == ("running", "") and story.room.deadline() is None


def test_a_process_that_registers_before_it_is_wanted_waits_for_that():
    story, process = after_a_crash()
    assert story.register_again(process) == []
    effects = story.run()
    assert refusal(effects) == "" and story.state() == ("running", "")
    assert refusal(story.register_again(process, conn=2)) == "already-registered"


def test_a_process_that_registers_before_anything_is_told_waits_too():
    found = left_by(running())
    story = Story(found=None)
    assert story.register_again(found[0]) == []
    story.run()
    assert story.state() == ("starting", "waits to hear what already runs here") and story.starts() == 0
    assert refusal(story.tell(ProcessesFound(found))) == ""
    assert story.state() == ("running", "") and story.starts() == 0


def test_a_registration_that_waits_is_judged_by_the_ticket_that_was_found():
    story, process = after_a_crash()
    stranger = FoundProcess(WORDS, process.run_no, process.pid, "guessed")
    assert refusal(story.register_again(stranger)) == "wrong-ticket"
    assert story.register_again(process, conn=2) == []
    assert refusal(story.register_again(process, conn=3)) == "already-registered"


def test_one_that_hung_up_while_it_waited_may_come_again():
    story, process = after_a_crash()
    story.register_again(process)
    assert story.tell(AgentGone(AgentConn(1))) == []
    effects = story.run()
    assert not any(isinstance(e, SkillsOffered) for e in effects)
    assert refusal(story.register_again(process, conn=2)) == ""


def test_nothing_starts_before_it_is_known_what_runs():
    story = Story(found=None)
    story.run()
    assert story.starts() == 0
    only(StartProcess, story.tell(ProcessesFound()))


def test_a_unit_that_is_not_wanted_after_all_does_not_start_then():
    story = Story(found=None)
    story.run()
    story.stop()
    assert story.tell(ProcessesFound()) == [] and story.room.instances() == []


def test_run_numbers_go_on_above_those_found():
    found = FoundProcess(InstanceId("other/0"), 41, 7, "t")
    story = Story(found=(found,))
    story.run()
    assert story.last_start().run_no == 42


def test_a_found_process_nobody_asks_for_is_stopped_and_forgotten():
    story, process = after_a_crash()
    story.register_again(process)
    effects = story.pass_to_deadline()
    assert story.mono_us == story.config.adopt_us
    assert only(StopProcess, effects) == StopProcess(WORDS, process.run_no, story.config.grace_us)
    assert refusal(effects) == "unknown-instance"
    changed = only(InstanceChanged, story.tell(ProcessExited(WORDS, process.run_no, 0)))
    assert isinstance(changed, InstanceChanged) and changed.state == "stopped"
    assert story.room.instances() == [] and story.room.deadline() is None


def test_a_unit_wanted_too_late_starts_when_its_found_process_has_ended():
    story, process = after_a_crash()
    story.pass_to_deadline()
    story.run()
    assert story.starts() == 0
    start = only(StartProcess, story.tell(ProcessExited(WORDS, process.run_no, 0, "SIGKILL")))
    assert isinstance(start, StartProcess) and start.run_no > process.run_no


def test_a_found_process_of_another_recipe_makes_room_for_the_right_one():
    story, process = after_a_crash()
    effects = story.run(OTHER)
    only(StopProcess, effects)
    start = only(StartProcess, story.tell(ProcessExited(WORDS, process.run_no, 0)))
    assert isinstance(start, StartProcess) and start.recipe == OTHER


def test_a_restart_asked_before_anything_is_known_restarts_what_is_found():
    found = left_by(running())
    story = Story(found=None)
    story.run()
    story.restart()
    only(StopProcess, story.tell(ProcessesFound(found)))
    only(StartProcess, story.tell(ProcessExited(WORDS, found[0].run_no, 0)))


def test_of_two_found_runs_of_one_unit_the_older_is_stopped():
    newer = left_by(running())[0]
    older = FoundProcess(WORDS, newer.run_no - 1, 50, "old")
    story = Story(found=None)
    story.run()
    effects = story.tell(ProcessesFound((newer, older)))
    assert only(StopProcess, effects) == StopProcess(WORDS, older.run_no, story.config.grace_us)
    assert story.tell(ProcessExited(WORDS, older.run_no, 0)) == []
    assert refusal(story.register_again(newer)) == "" and story.state()[0] == "running"


def test_a_found_process_that_ended_before_it_was_wanted_is_started_anew():
    story, process = after_a_crash()
    assert story.tell(ProcessExited(WORDS, process.run_no, 1)) == []
    only(StartProcess, story.run())


def test_an_adopted_process_that_ends_before_it_came_back_is_taken_for_a_service():
    story, process = after_a_crash()
    story.run()
    story.tell(ProcessExited(WORDS, process.run_no, 0))
    assert story.state()[0] == "backoff"


def test_an_adopted_job_that_ends_in_order_later_is_done():
    story, process = after_a_crash()
    story.run()
    story.pass_to_deadline()
    story.tell(ProcessExited(WORDS, process.run_no, 0))
    assert story.state() == ("stopped", "finished by itself with code 0")


@pytest.mark.parametrize(("recipe", "state"), [(SDK_FILE, "stopping"), (COMMAND, "running")])
def test_an_adopted_process_that_does_not_come_back_is_treated_like_any_start(recipe: Recipe, state: str):
    story, _ = after_a_crash(recipe)
    story.run(recipe)
    story.pass_to_deadline()
    assert story.state()[0] == state


def test_shutdown_stops_adopted_and_unasked_processes_alike():
    first = left_by(running())[0]
    second = FoundProcess(InstanceId("other/0"), 9, 7, "t")
    story = Story(found=(first, second))
    story.run()
    effects = story.tell(Shutdown())
    assert sorted(e.instance for e in effects if isinstance(e, StopProcess)) == ["other/0", "words/0"]
    assert story.room.deadline() is None
    story.tell(ProcessExited(second.instance, 9, 0))
    only(AgentsStopped, story.tell(ProcessExited(WORDS, first.run_no, 0)))


def test_what_is_found_while_going_down_is_stopped_before_the_end():
    found = left_by(running())
    story = Story(found=None)
    story.run()
    story.tell(Shutdown())
    effects = story.tell(ProcessesFound(found))
    only(StopProcess, effects)
    assert not any(isinstance(e, AgentsStopped) for e in effects)
    only(AgentsStopped, story.tell(ProcessExited(WORDS, found[0].run_no, 0)))
