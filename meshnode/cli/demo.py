"""``demo``: a small true story on this machine, with three temporary nodes and real kills and cuts."""

import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from meshnode.cli.call import call_line
from meshnode.cli.parser import Given, Parser, Verb, warn
from meshnode.cli.run import wanted_of
from meshnode.cli.why import whole_story
from meshnode.cli.words import one_line, span
from meshnode.client.client import Client
from meshnode.model.commands import CallSkill
from meshnode.model.errors import LocalError, TimedOut
from meshnode.model.views import AgentView, CallView

if TYPE_CHECKING:
    from meshnode.cli.demo_mesh import DemoMesh

AGENT = "tally"
CALLS = 20
TRY_S = 30.0
HEALED_S = 30.0
_TRY_DEADLINE_S = 1.0


class Teller:
    """Prints what happens with the time since the beginning."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._began = clock()

    def __call__(self, text: str) -> None:
        print(f"[{self._clock() - self._began:7.2f} s] {one_line(text)}", flush=True)


class Ledger:
    """What was acknowledged: the total must be exactly this, however often a call had to be repeated."""

    def __init__(self, story: str) -> None:
        self._story = story
        self._calls = 0
        self.tries = 0
        self.slowest_s = 0.0

    @property
    def total(self) -> int:
        return self._calls

    def add(self, client: Client) -> CallView:
        """One call with a key of its own, repeated under that key until it is answered."""
        key = f"{self._story}-{self._calls}"
        began = time.monotonic()
        while True:
            self.tries += 1
            try:
                view = client.call(
                    CallSkill(skill=f"{AGENT}.add", arguments={"n": 1}, deadline_s=_TRY_DEADLINE_S, idempotency_key=key)
                )
            except LocalError as error:
                if time.monotonic() - began > TRY_S:
                    raise TimedOut(
                        f"no answer within {TRY_S:g} s; last: {error.message}", next_step="try again"
                    ) from error
                time.sleep(0.02)
                continue
            self._calls += 1
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            return view


def _demo(given: Given) -> int:
    from meshnode.cli.demo_mesh import demo_mesh

    tell = Teller()
    warn("three nodes on this machine, in a temporary directory; nothing is left of them afterwards")
    with demo_mesh(wires=given.story == "partition") as mesh:
        tell("$ meshnode up; meshnode invite; meshnode join TOKEN; meshnode up ...")
        mesh.build()
        tell("alpha, beta and gamma are one mesh; none of them is its head")
        agent = _agent_runs(mesh.clients["beta"], tell)
        kept = _STORIES[given.story](mesh, agent, tell)
    tell("kept" if kept else "NOT KEPT: please tell us, with what stands above")
    return 0 if kept else 1


def _agent_runs(client: Client, tell: Teller) -> AgentView:
    from meshnode.cli.demo_mesh import until

    file = Path(__file__).with_name("demo_agent.py")
    tell(f"beta$ meshnode run {file.name} --name {AGENT}")
    client.run(wanted_of(given_for_run(file)))

    def running() -> AgentView | None:
        units = [unit for unit in client.agents() if unit.name == AGENT]
        return next((unit for unit in units if unit.state == "running"), None)

    agent = until(running, f"{AGENT} does not run", TRY_S)
    assert agent is not None
    tell(f"{agent.instance} runs on {agent.node}, pid {agent.pid}")
    return agent


def given_for_run(file: Path) -> Given:
    """What ``meshnode run FILE --name tally`` has as its arguments."""
    from meshnode.cli.parser import parse, parser_of
    from meshnode.cli.run import VERBS as RUN

    parser = parser_of("run", "")
    RUN["run"].options(parser)
    return parse(parser, [str(file), "--name", AGENT], dashed=True)


def _failover(mesh: "DemoMesh", agent: AgentView, tell: Teller) -> bool:
    ledger = Ledger("failover")
    caller = next(name for name in mesh.clients if name != agent.node)
    client = mesh.clients[caller]
    tell(f"{caller}$ meshnode call {AGENT}.add n=1 --key ..., {CALLS} times")
    view = _calls(ledger, client, CALLS)
    tell(f"the total is {view.result}: {call_line(view)}")
    tell(f"kill -9 {agent.node}: its daemon and the agent at once, as a power cut would")
    mesh.kill(agent.node)
    began = time.monotonic()
    view = ledger.add(client)
    tell(f"answered again after {time.monotonic() - began:.2f} s, now by {call_line(view)}")
    view = _calls(ledger, client, CALLS - 1)
    tell(f"the total is {view.result}; {ledger.total} calls were answered, {ledger.tries - ledger.total} repeated")
    _why(client, f"agent/{AGENT}", tell)
    return view.result == ledger.total


def _partition(mesh: "DemoMesh", agent: AgentView, tell: Teller) -> bool:
    from meshnode.cli.demo_mesh import until

    ledger = Ledger("partition")
    inside = mesh.clients[agent.node]
    others = {name: client for name, client in mesh.clients.items() if name != agent.node}
    outside_name, outside = next(iter(others.items()))
    tell(f"the total is {_calls(ledger, inside, CALLS).result}")
    tell(f"{agent.node}'s cable is pulled: it is cut off from {' and '.join(others)}")
    mesh.cut_off(agent.node)
    began = time.monotonic()
    view = ledger.add(inside)
    tell(f"{agent.node}, alone, answers after {time.monotonic() - began:.2f} s: {call_line(view)}")
    began = time.monotonic()
    view = ledger.add(outside)
    tell(f"{outside_name}, without {agent.node}, answers after {time.monotonic() - began:.2f} s: {call_line(view)}")
    here, there = _calls(ledger, inside, CALLS - 1).result, _calls(ledger, outside, CALLS - 1).result
    tell(f"both sides counted on: {here} on {agent.node}, {there} on {view.node}; together {ledger.total} calls")
    tell("the cable is back")
    mesh.heal()
    began = time.monotonic()
    until(lambda: _totals(mesh) == {ledger.total}, f"the total is not {ledger.total} everywhere", HEALED_S)
    tell(f"merged after {time.monotonic() - began:.2f} s: {ledger.total} on every node")
    until(lambda: _running(inside) == 1, f"there is not one {AGENT} again", HEALED_S)
    tell(f"one {AGENT} again after {time.monotonic() - began:.2f} s")
    _why(inside, f"agent/{AGENT}", tell)
    return _totals(mesh) == {ledger.total}


def _calls(ledger: Ledger, client: Client, count: int) -> CallView:
    for _ in range(count - 1):
        ledger.add(client)
    return ledger.add(client)


def _totals(mesh: "DemoMesh") -> set[object]:
    """What each node answers when it is asked for the total."""
    wanted = CallSkill(skill=f"{AGENT}.total", deadline_s=_TRY_DEADLINE_S)
    return {client.call(wanted).result for client in mesh.clients.values()}


def _running(client: Client) -> int:
    return sum(unit.name == AGENT and unit.state == "running" for unit in client.agents())


def _why(client: Client, subject: str, tell: Teller) -> None:
    tell(f"$ meshnode why {subject}")
    view, _ = whole_story(client, subject)
    print(one_line(f"    {view.subject}: {view.now}"))
    for event in view.events[-12:]:
        print(one_line(f"    {span(event.age_s) + ' ago':>8}  {event.node:<6}{event.text}"))


_STORIES: "dict[str, Callable[[DemoMesh, AgentView, Teller], bool]]" = {
    "failover": _failover, "partition": _partition,
}  # fmt: skip


def _options(parser: Parser) -> None:
    parser.add_argument("story", choices=tuple(_STORIES), help="failover: a node dies; partition: a cable is pulled")


VERBS = {"demo": Verb(options=_options, run=_demo)}
