"""The life of an agent, told as stories in virtual time."""

import pytest

from meshnode.agents.instance import AgentsConfig
from meshnode.agents.messages import (
    AgentGone,
    AgentsStopped,
    InstanceChanged,
    InstanceState,
    ProcessExited,
    ProcessFailed,
    ProcessStarted,
    Run,
    Shutdown,
    SkillsOffered,
    SkillsWithdrawn,
    StartProcess,
    StopProcess,
)
from meshnode.kernel.effects import Note, Persist
from meshnode.kernel.instant import SECOND
from meshnode.kernel.records import Record, RecordKind
from meshnode.model.commands import RunAgent
from meshnode.model.errors import Invalid, NotFound, Offline
from meshnode.model.ids import AgentConn
from meshnode.wire.calls import RegisterHeader, SkillDescription
from tests.unit.agents.story import COUNT, WORDS, Story, only, refusal, running


def test_a_run_stores_the_recipe_and_starts_one_process():
    story = Story()
    effects = story.run()
    persist = only(Persist, effects)
    assert isinstance(persist, Persist) and persist.records[0].kind is RecordKind.AGENT and persist.records[0].body
    start = only(StartProcess, effects)
    assert isinstance(start, StartProcess)
    assert (start.instance, start.argv, start.cwd) == (WORDS, ("python", "words.py"), "/srv")


def test_a_registered_agent_offers_its_skills():
    story = Story()
    story.run()
    story.started()
    effects = story.register()
    assert refusal(effects) == ""
    assert only(SkillsOffered, effects) == SkillsOffered(WORDS, AgentConn(1), (COUNT,))
    assert story.state() == ("running", "")


def test_the_same_recipe_again_changes_nothing():
    story = running()
    assert story.run() == []


def test_another_recipe_under_a_running_name_is_refused_and_nothing_changes():
    story = running()
    with pytest.raises(Invalid, match="another command line"):
        story.run(RunAgent(name="words", argv=["python", "other.py"], cwd="/srv"))
    assert story.starts() == 1 and story.state()[0] == "running"


def test_what_was_stored_starts_at_a_cold_boot_without_being_asked():
    first = Story()
    persist = only(Persist, first.run())
    assert isinstance(persist, Persist)
    second = Story(restored=persist.records)
    start = only(StartProcess, second.note(second.room.start(second.now)))
    assert isinstance(start, StartProcess) and start.argv == ("python", "words.py")


def test_a_stopped_agent_does_not_come_back_at_a_cold_boot():
    first = running()
    first.stop()
    records = tuple(r for e in first.all if isinstance(e, Persist) for r in e.records)
    second = Story(restored=records)
    assert second.room.start(second.now) == []


def test_a_stored_recipe_that_cannot_be_read_is_told_and_harms_no_other():
    good = only(Persist, Story().run())
    assert isinstance(good, Persist)
    story = Story(restored=(Record(RecordKind.AGENT, b"odd", b"\xc1junk"), *good.records))
    effects = story.room.start(story.now)
    assert [e.subject for e in effects if isinstance(e, Note)] == ["agent/odd"]
    assert isinstance(only(StartProcess, effects), StartProcess)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"header": RegisterHeader("words", WORDS, "0" * 32, 100)}, "wrong-ticket"),
        ({"pid": 999}, "foreign-process"),
        ({"header": RegisterHeader("words", "words/south", "", 100)}, "unknown-instance"),
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


def test_a_crashed_agent_is_started_again_after_its_wait_and_not_before():
    story = running()
    story.exited()
    assert story.room.wake(story.now) == []
    story.pass_to_deadline()
    assert story.starts() == 2
    info = story.room.instance("words")
    assert info is not None and info.restarts == 1 and info.state is InstanceState.STARTING


def test_crash_after_crash_waits_longer_up_to_a_minute_and_never_gives_up():
    story = Story(seed=3)
    story.run()
    waits: list[int] = []
    for _ in range(20):
        story.exited()
        before = story.mono_us
        story.pass_to_deadline()
        waits.append(story.mono_us - before)
    assert max(waits[:3]) <= 1 * SECOND, "the first restarts are quick"
    assert min(waits[3:]) >= 1 * SECOND, "more in a row are not"
    assert min(waits[-5:]) >= 30 * SECOND
    assert max(waits) <= 60 * SECOND
    assert story.starts() == 21


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
    assert story.mono_us - before <= 1 * SECOND


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


def test_a_process_that_never_registers_counts_as_running_without_skills():
    story = Story()
    story.run()
    story.started()
    story.pass_to_deadline()
    assert story.mono_us == story.config.settle_us
    assert story.state() == ("running", "runs without skills: it has not registered")
    assert refusal(story.register()) == "", "it may still do so late"


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
    assert story.room.instance("words") is None
    with pytest.raises(NotFound):
        story.stop()


def test_a_stop_during_the_wait_for_a_restart_forgets_at_once():
    story = running()
    story.exited()
    story.stop()
    assert story.room.instances() == [] and story.room.deadline() is None


def test_run_while_stopping_starts_the_new_recipe_when_the_old_process_is_gone():
    story = running()
    story.stop()
    other = RunAgent(name="words", argv=["python", "other.py"], cwd="/srv")
    story.run(other)
    assert story.starts() == 1
    story.exited(code=0, signal="SIGKILL")
    assert story.last_start().argv == ("python", "other.py")


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


def test_shutdown_stops_all_forgets_none_and_tells_when_nothing_is_left():
    story = running()
    effects = story.tell(Shutdown())
    only(StopProcess, effects)
    assert not any(isinstance(e, Persist | AgentsStopped) for e in effects)
    with pytest.raises(Offline):
        story.run(RunAgent(name="late", argv=["x"], cwd="/"))
    effects = story.exited(code=0)
    only(AgentsStopped, effects)
    assert story.room.deadline() is None, "nothing is started again"


def test_shutdown_with_nothing_running_is_over_at_once():
    story = running()
    story.exited()
    only(AgentsStopped, story.tell(Shutdown()))
    assert story.room.deadline() is None


def test_what_another_room_asks_wrongly_becomes_a_note():
    story = Story()
    effects = story.tell(Run("words", (), "/"))
    assert isinstance(effects[0], Note) and "no program" in effects[0].text


@pytest.mark.parametrize(
    ("command", "field"),
    [
        (RunAgent(name="", argv=["x"], cwd="/"), "name"),
        (RunAgent(name="../etc", argv=["x"], cwd="/"), "name"),
        (RunAgent(name="a" * 64, argv=["x"], cwd="/"), "name"),
        (RunAgent(name="a", argv=[], cwd="/"), "argv"),
        (RunAgent(name="a", argv=["x\0y"], cwd="/"), "argv"),
        (RunAgent(name="a", argv=["x"], cwd="here"), "cwd"),
        (RunAgent(name="a", argv=["x"], cwd="/", environment={"MESHNODE_TICKET": "1"}), "environment"),
        (RunAgent(name="a", argv=["x"], cwd="/", environment={"A=B": "1"}), "environment"),
        (RunAgent(name="a", argv=["x", "y" * 20_000], cwd="/"), "16384 bytes"),
    ],
)
def test_a_bad_recipe_is_refused_with_its_field_and_nothing_is_kept(command: RunAgent, field: str):
    story = Story()
    with pytest.raises(Invalid, match=field):
        story.run(command)
    assert story.room.instances() == []


def test_no_more_agents_than_the_limit():
    story = Story(config=AgentsConfig(node="north", agents_max=1))
    story.run()
    with pytest.raises(Invalid, match="limit"):
        story.run(RunAgent(name="second", argv=["x"], cwd="/"))
