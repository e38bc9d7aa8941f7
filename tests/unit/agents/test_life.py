"""The life of a unit, told as stories in virtual time."""

import pytest

from meshnode.agents.config import AgentsConfig
from meshnode.agents.messages import (
    AgentGone,
    AgentsStopped,
    InstanceChanged,
    InstanceState,
    ProcessesFound,
    ProcessExited,
    ProcessFailed,
    ProcessStarted,
    RestartUnit,
    RunUnit,
    Shutdown,
    SkillsOffered,
    SkillsWithdrawn,
    StartProcess,
    StopProcess,
    WelcomeAgent,
)
from meshnode.kernel.effects import Note, Persist
from meshnode.kernel.instant import MS, SECOND
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.ids import AgentConn, InstanceId
from meshnode.model.recipe import ACTOR, Recipe
from meshnode.wire.calls import RegisterHeader
from tests.unit.agents.story import COMMAND, COUNT, OTHER, SDK_FILE, WORDS, Story, only, refusal, running


def test_a_unit_that_is_to_run_starts_one_process_and_keeps_nothing_in_the_journal():
    story = Story()
    effects = story.run()
    start = only(StartProcess, effects)
    assert isinstance(start, StartProcess)
    assert (start.instance, start.recipe, start.first_slot, start.slots) == (WORDS, COMMAND, 0, 1)
    assert not any(isinstance(e, Persist) for e in effects)


def test_a_registered_agent_offers_its_skills_and_says_what_it_can_merge():
    story = Story()
    story.run()
    story.started()
    header = RegisterHeader("words", WORDS, story.last_start().ticket, 100, hooks=["count", "seen"])
    effects = story.register(header=header)
    assert refusal(effects) == ""
    assert only(SkillsOffered, effects) == SkillsOffered(WORDS, AgentConn(1), (COUNT,), ("count", "seen"))
    assert story.state() == ("running", "")


def test_a_process_that_was_never_taken_in_resumes_nothing():
    story = Story()
    story.run()
    story.started()
    header = RegisterHeader("words", WORDS, story.last_start().ticket, 100, resume=True, merge_no=9)
    offered = only(SkillsOffered, story.register(header=header))
    assert isinstance(offered, SkillsOffered)
    assert (offered.resumed, offered.merge_no) == (False, 0)


def test_a_process_that_lost_its_connection_and_comes_back_resumes():
    story = running()
    story.tell(AgentGone(AgentConn(1)))
    header = RegisterHeader("words", WORDS, story.last_start().ticket, 100, resume=True, merge_no=9)
    offered = only(SkillsOffered, story.register(conn=2, header=header))
    assert isinstance(offered, SkillsOffered)
    assert (offered.resumed, offered.merge_no) == (True, 9)
    assert story.state() == ("running", "") and story.room.deadline() is None


def test_the_same_order_again_changes_nothing():
    story = running()
    assert story.run() == []


def test_another_recipe_stops_the_process_in_order_and_then_starts_by_the_new_one():
    story = running()
    only(StopProcess, story.run(OTHER))
    assert story.starts() == 1 and story.state() == ("stopping", "is wanted in another way")
    assert story.run(OTHER) == [], "it is on its way"
    start = only(StartProcess, story.exited(code=0))
    assert isinstance(start, StartProcess) and start.recipe == OTHER


def test_who_changes_back_while_it_stops_gets_the_first_recipe_again():
    story = running()
    story.run(OTHER)
    story.run(COMMAND)
    start = only(StartProcess, story.exited(code=0))
    assert isinstance(start, StartProcess) and start.recipe == COMMAND


def test_more_slots_for_a_worker_start_it_again():
    story = Story()
    recipe = Recipe(file="/srv/words.py", tier=ACTOR)
    story.tell(RunUnit(WORDS, recipe, 0, 10))
    story.started()
    welcome = only(WelcomeAgent, story.register())
    assert isinstance(welcome, WelcomeAgent) and (welcome.first_slot, welcome.slots) == (0, 10)
    only(StopProcess, story.tell(RunUnit(WORDS, recipe, 0, 11)))
    start = only(StartProcess, story.exited(code=0))
    assert isinstance(start, StartProcess) and start.slots == 11
    info = story.room.instance(WORDS)
    assert info is not None and (info.first_slot, info.slots) == (0, 11)


def test_a_start_launches_nothing_and_tells_once_what_an_earlier_version_ran():
    old = (
        Record(RecordKind.AGENT, b"words", b"some recipe"),
        Record(RecordKind.AGENT, b"gone", b"another"),
        Record(RecordKind.AGENT, b"gone", b""),
        Record(RecordKind.EVENT, b"00000001", b"no agent"),
    )
    story = Story(restored=old)
    effects = story.room.start(story.now)
    note, persist = only(Note, effects), only(Persist, effects)
    assert note == Note("agent/words", "was started by an earlier version: run it again")
    assert isinstance(persist, Persist) and persist.records == (Record(RecordKind.AGENT, b"words", b""),)
    assert len(effects) == 2 and story.room.start(story.now) == []


def test_a_crash_withdraws_the_skills_and_says_why():
    story = running()
    effects = story.exited(tail="Traceback\n  File\nZeroDivisionError: division by zero\n\n")
    assert only(SkillsWithdrawn, effects) == SkillsWithdrawn(WORDS)
    state, reason = story.state()
    assert state == "backoff"
    assert reason.startswith("exited with code 1: ZeroDivisionError: division by zero; starts again in ")


def test_a_signal_is_named():
    story = running()
    story.exited(code=0, signal="SIGSEGV")
    assert story.state()[1].startswith("killed by SIGSEGV; starts again in ")


def test_a_crashed_agent_is_started_again_at_once_because_callers_wait():
    story = running()
    story.exited()
    assert story.room.wake(story.now) == []
    story.pass_to_deadline()
    assert 0 < story.mono_us <= 50 * MS
    assert story.starts() == 2
    info = story.room.instance(WORDS)
    assert info is not None and info.restarts == 1 and info.state is InstanceState.STARTING


def test_crash_after_crash_waits_longer_until_it_has_failed():
    story = Story(seed=3)
    story.run()
    waits: list[int] = []
    for _ in range(story.config.intensity_max):
        story.exited()
        before = story.mono_us
        story.pass_to_deadline()
        waits.append(story.mono_us - before)
    assert max(waits[:3]) <= 1 * SECOND, "the first restarts are quick"
    assert min(waits[3:]) >= 1 * SECOND, "more in a row are not"
    story.exited(tail="ImportError: no module named words")
    state, reason = story.state()
    assert state == "failed"
    assert "ImportError: no module named words" in reason and "more than 10 times within 300.0 s" in reason
    assert story.room.deadline() is None, "nothing starts it but a person or another recipe"
    assert story.starts() == 1 + story.config.intensity_max


def failed() -> Story:
    story = Story()
    story.run()
    for _ in range(story.config.intensity_max):
        story.exited()
        story.pass_to_deadline()
    story.exited()
    assert story.state()[0] == "failed"
    return story


@pytest.mark.parametrize("how", ["restart", "the same", "another"])
def test_a_failed_unit_starts_again_when_asked_and_all_is_forgiven(how: str):
    story = failed()
    effects = story.restart() if how == "restart" else story.run(OTHER if how == "another" else COMMAND)
    only(StartProcess, effects)
    story.exited()
    assert story.state()[0] == "backoff"
    assert "in a row" not in story.state()[1]


def test_a_failed_unit_can_be_stopped():
    story = failed()
    story.stop()
    assert story.room.instances() == []


def test_ends_that_are_far_apart_do_not_make_it_fail():
    story = Story(config=AgentsConfig(node="north", intensity_max=2, intensity_window_us=10 * SECOND))
    story.run()
    for _ in range(12):
        story.mono_us += 6 * SECOND
        story.exited()
        assert story.state()[0] == "backoff"
        story.pass_to_deadline()


def test_a_long_healthy_run_forgives_earlier_crashes():
    story = Story()
    story.run()
    for _ in range(6):
        story.exited()
        story.pass_to_deadline()
    story.mono_us += story.config.healthy_us
    story.exited()
    before = story.mono_us
    story.pass_to_deadline()
    assert story.mono_us - before <= 50 * MS


def test_stops_and_restarts_that_were_asked_for_are_no_crashes():
    story = running()
    for _ in range(2 * story.config.intensity_max):
        story.restart()
        story.exited(code=0)
    assert story.state()[0] == "starting"


def test_a_program_that_cannot_start_is_retried_and_says_why():
    story = Story()
    story.run()
    story.tell(ProcessFailed(WORDS, story.last_start().run_no, "no file /srv/nothing"))
    state, reason = story.state()
    assert state == "backoff" and "could not start: no file /srv/nothing" in reason
    story.pass_to_deadline()
    assert story.starts() == 2


def test_a_job_that_ends_in_order_is_not_repeated_until_asked():
    story = Story()
    story.run()
    story.started()
    story.exited(code=0)
    assert story.state() == ("stopped", "finished by itself with code 0")
    assert story.room.deadline() is None
    story.run()
    assert story.starts() == 2


def test_a_service_that_ends_in_order_is_started_again():
    story = running()
    story.exited(code=0)
    assert story.state()[0] == "backoff"


def test_a_command_that_never_registers_counts_as_running_without_skills():
    story = Story()
    story.run()
    story.started()
    story.pass_to_deadline()
    assert story.mono_us == story.config.settle_us
    assert story.state() == ("running", "runs without skills: it has not registered")
    assert refusal(story.register()) == "", "it may still do so late"


def test_an_sdk_file_that_hangs_at_its_start_is_stopped_and_started_again():
    story = Story()
    story.run(SDK_FILE)
    story.started()
    only(StopProcess, story.pass_to_deadline())
    assert story.mono_us == story.config.start_us
    story.exited(code=0, signal="SIGKILL")
    assert story.state()[1].startswith("has not registered within 30.0 s; killed by SIGKILL; starts again in ")


def test_a_command_that_has_once_registered_has_to_do_so_in_every_run():
    story = running()
    story.exited()
    story.pass_to_deadline()
    story.started()
    only(StopProcess, story.pass_to_deadline())
    assert story.state() == ("stopping", "has not registered within 30.0 s")


def test_a_stop_withdraws_asks_kills_and_forgets():
    story = running()
    effects = story.stop()
    only(SkillsWithdrawn, effects)
    assert only(StopProcess, effects) == StopProcess(WORDS, 1, story.config.grace_us)
    assert story.state()[0] == "stopping"
    assert story.stop() == [], "twice is harmless"
    effects = story.exited(code=0)
    changed = only(InstanceChanged, effects)
    assert isinstance(changed, InstanceChanged) and changed.state == "stopped"
    assert story.room.instance(WORDS) is None and story.room.of_agent("words") == []
    assert story.stop() == []


def test_the_connection_of_a_stopping_agent_may_end_before_its_process():
    story = running()
    story.stop()
    assert story.tell(AgentGone(AgentConn(1))) == [], "its skills were withdrawn once"
    assert story.state()[0] == "stopping"


def test_a_stop_during_the_wait_for_a_restart_forgets_at_once():
    story = running()
    story.exited()
    story.stop()
    assert story.room.instances() == [] and story.room.deadline() is None


def test_run_while_stopping_starts_the_new_recipe_when_the_old_process_is_gone():
    story = running()
    story.stop()
    story.run(OTHER)
    assert story.starts() == 1
    story.exited(code=0, signal="SIGKILL")
    assert story.last_start().recipe == OTHER


def test_a_stop_after_that_is_still_a_stop_and_no_second_signal():
    story = running()
    story.stop()
    story.run(OTHER)
    assert not any(isinstance(e, StopProcess) for e in story.stop())
    story.exited(code=0)
    assert story.starts() == 1 and story.room.instances() == []


def test_a_restart_stops_in_order_and_starts_at_once():
    story = running()
    only(StopProcess, story.restart())
    assert story.restart() == [], "it is on its way"
    only(StartProcess, story.exited(code=0))
    info = story.room.instance(WORDS)
    assert info is not None and info.restarts == 0, "nobody crashed"


def test_a_restart_of_a_unit_at_fault_counts_as_a_crash_and_waits_like_one():
    story = running()
    for _ in range(story.config.intensity_max):
        only(StopProcess, story.tell(RestartUnit(WORDS, "its state was refused", at_fault=True)))
        story.exited(code=0)
        assert story.state()[0] == "backoff" and "its state was refused" in story.state()[1]
        assert story.tell(RestartUnit(WORDS, "again", at_fault=True)) == []
        story.pass_to_deadline()
    story.tell(RestartUnit(WORDS, "its state was refused", at_fault=True))
    story.exited(code=0)
    assert story.state()[0] == "failed"


def test_a_restart_does_not_wait_for_the_backoff():
    story = running()
    story.exited()
    only(StartProcess, story.restart())
    assert story.room.deadline() is None


def test_a_restart_of_what_is_being_stopped_or_not_here_does_nothing():
    story = running()
    story.stop()
    assert story.restart() == []
    story.exited(code=0)
    assert story.restart() == [] and story.room.instances() == []


def test_an_agent_that_ignores_its_signal_is_restarted_once_its_group_is_gone():
    story = running()
    story.restart()
    story.mono_us += 60 * SECOND
    assert story.room.deadline() is None, "StopProcess carries the grace: whoever performs it kills"
    only(StartProcess, story.exited(code=0, signal="SIGKILL"))


def test_an_agent_that_lost_its_connection_is_stopped_and_started_again():
    story = running()
    only(SkillsWithdrawn, story.tell(AgentGone(AgentConn(1))))
    assert story.state() == ("starting", "lost its connection to the daemon")
    only(StopProcess, story.pass_to_deadline())
    story.exited(code=0, signal="SIGKILL")
    assert story.state()[1].startswith("stopped answering; killed by SIGKILL; starts again in ")
    story.pass_to_deadline()
    assert story.starts() == 2


def test_news_of_an_earlier_run_changes_nothing():
    story = running()
    story.exited()
    story.pass_to_deadline()
    assert story.tell(ProcessExited(WORDS, 1, 1)) == []
    assert story.tell(ProcessStarted(WORDS, 1, 55)) == []
    assert story.tell(AgentGone(AgentConn(1))) == []


def test_shutdown_stops_all_and_tells_when_nothing_is_left():
    story = running()
    effects = story.tell(Shutdown())
    only(StopProcess, effects)
    assert not any(isinstance(e, Persist | AgentsStopped) for e in effects)
    assert story.run(COMMAND, InstanceId("late/0")) == [] and story.restart() == []
    only(AgentsStopped, story.exited(code=0))
    assert story.room.deadline() is None, "nothing is started again"


def test_shutdown_with_nothing_running_is_over_at_once():
    story = running()
    story.exited()
    only(AgentsStopped, story.tell(Shutdown()))
    assert story.room.deadline() is None
    assert story.tell(Shutdown()) == []


def test_a_shutdown_does_not_wait_for_ever_to_hear_what_runs():
    story = Story(found=None)
    story.run()
    assert not any(isinstance(e, AgentsStopped) for e in story.tell(Shutdown()))
    only(AgentsStopped, story.pass_to_deadline())
    assert story.room.deadline() is None and story.tell(ProcessesFound()) == []


@pytest.mark.parametrize(
    ("event", "words"),
    [
        (RunUnit(InstanceId("words"), COMMAND), "not the unit that begins with slot 0"),
        (RunUnit(InstanceId("words/3"), COMMAND, 0), "not the unit"),
        (RunUnit(WORDS, COMMAND, 0, 2), "of the tier process has 1 to 1"),
        (RunUnit(WORDS, Recipe(file="/a.py", tier=ACTOR), 0, 1001), "1 to 1000"),
        (RunUnit(InstanceId("words/00"), COMMAND), "not the unit"),
        (RunUnit(InstanceId("words/-1"), COMMAND, -1), "not the unit"),
        (RunUnit(WORDS, Recipe()), "no program to run"),
        (RunUnit(WORDS, Recipe(("",))), "no program to run"),
        (RunUnit(WORDS, Recipe(("words",), tier=ACTOR)), "an actor needs a Python file"),
    ],
)
def test_a_unit_that_breaks_a_rule_has_failed_and_says_why(event: RunUnit, words: str):
    story = Story()
    changed = only(InstanceChanged, story.tell(event))
    assert isinstance(changed, InstanceChanged)
    assert changed.state == "failed" and words in changed.reason
    assert story.room.instances() == []


def test_an_order_that_breaks_a_rule_leaves_what_runs_alone():
    story = running()
    assert isinstance(only(Note, story.run(Recipe())), Note)
    assert story.state() == ("running", "")


def test_no_more_units_than_the_limit():
    story = Story(config=AgentsConfig(node="north", units_max=1))
    story.run()
    changed = only(InstanceChanged, story.run(COMMAND, InstanceId("second/0")))
    assert isinstance(changed, InstanceChanged) and changed.state == "failed" and "limit" in changed.reason
    assert story.starts() == 1


def test_units_of_one_agent_are_found_together_and_live_apart():
    story = Story()
    second = InstanceId("words/1")
    story.run()
    story.run(COMMAND, second)
    story.run(COMMAND, InstanceId("other/0"))
    assert [info.instance for info in story.room.of_agent("words")] == [WORDS, second]
    story.tell(ProcessFailed(second, 2, "no file"))
    assert story.state(WORDS)[0] == "starting" and story.state(second)[0] == "backoff"
