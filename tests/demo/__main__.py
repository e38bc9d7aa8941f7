"""``make demo``: the main job, played by real daemons and told with what a separate verifier saw.

Exits non-zero when a claim is wrong or takes five times its goal. ``--keep`` leaves the mesh running; ``--break FAULT``
plants a fault of ``tests/faults`` in every daemon, and must fail.
"""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.demo.fleet import ROOT, Broken, Fleet
from tests.demo.story import Story, Wrong

PLAN = [("alpha", "eu"), ("beta", "eu"), ("gamma", "us"), ("delta", "us")]
EU, US = ("alpha", "beta"), ("gamma", "delta")
ALL = EU + US
FAULTS = ("forged-record", "drop-merge", "lost-write")
# Seconds; measured by `make bench-house`.
GOAL_MESH_S, GOAL_HEAL_S, GOAL_AVOID_S, GOAL_BOOT_S, GOAL_AGENT_S = 5.0, 2.0, 1.0, 2.0, 3.0
TEXT_FILES = ("README.md", "ARCHITECTURE.md", "CONTRIBUTING.md", "SECURITY.md")


class Verifier:
    """The witness process; see tests/demo/verifier.py."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.demo.verifier"],
            cwd=ROOT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip

    def check(self, check: str, **order: Any) -> dict[str, Any]:  # noqa: ANN401 - JSON
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(json.dumps({"check": check, "since": time.monotonic(), **order}) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise Broken("the verifier has ended")
        return json.loads(line)

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


class Demo:
    """The story, chapter by chapter."""

    def __init__(self, fleet: Fleet, verifier: Verifier, story: Story) -> None:
        self.fleet, self.verifier, self.story = fleet, verifier, story
        self.ledger: list[dict[str, Any]] = []
        self.text = "\n".join((ROOT / name).read_text() for name in TEXT_FILES if (ROOT / name).exists())

    def play(self) -> None:
        """Chapter by chapter; the first wrong claim ends it."""
        self.form()
        self.tell_machines()
        self.call_agent()
        self.part_and_heal()
        self.lie()
        self.kill_and_return()

    def form(self) -> None:
        story, fleet = self.story, self.fleet
        story.chapter("Four daemons form a mesh: alpha and beta in eu, gamma and delta in us")
        began = time.monotonic()
        took = fleet.up("alpha")
        story.tell(f"alpha made mesh {fleet['alpha'].ready['made']['mesh']} and was ready in {took:.2f} s")
        for name, region in PLAN[1:]:
            invite = fleet.cli("alpha", "invite", "--name", name, "--region", region)
            fleet.join(name, invite["token"])
            story.tell(f"{name} joined by invite and was ready in {fleet.up(name):.2f} s")
        story.tell(f"all four are up after {time.monotonic() - began:.1f} s")
        seen = self.verifier.check("members", nodes=self.of(ALL), names=list(ALL))
        story.timed("every node lists the four as ready", seen["took_s"], GOAL_MESH_S)
        seen = self.verifier.check("no_certificate", listen=fleet["beta"].listen)
        story.claim("without a certificate nobody gets in", holds=seen["holds"], seen=seen["seen"])

    def tell_machines(self) -> None:
        self.story.chapter("Each node tells what its machine is and how busy")
        seen = self.verifier.check("hardware", asked=self.where("delta"), names=list(ALL))
        self.story.claim("hardware and live load are real, seen from delta", holds=seen["holds"], seen=seen["seen"])

    def call_agent(self) -> None:
        self.story.chapter("An agent runs on alpha; all others find it by its skill")
        self.fleet.cli("alpha", "run", str(ROOT / "examples" / "words.py"))
        seen = self.verifier.check("skill_back", asked=self.where("alpha"))
        self.story.timed("words answers on alpha", seen["took_s"], GOAL_AGENT_S)
        seen = self.verifier.check("words_known", nodes=self.of(ALL[1:]))
        self.story.claim("every other node knows the skill", holds=seen["holds"], seen=seen["seen"])
        seen = self.verifier.check("words", nodes=self.of(ALL[1:]), text=self.text, holder="alpha")
        self.story.claim("words.count is right, called from beta, gamma, delta", holds=seen["holds"], seen=seen["seen"])

    def part_and_heal(self) -> None:
        story, fleet = self.story, self.fleet
        story.chapter("The cable between eu and us is cut; both sides go on writing")
        self.write("alpha", "shop", {"replicas": 3})
        seen = self.verifier.check("documents", nodes=self.of(ALL), ledger=self.ledger)
        story.timed("a document written before the cut is everywhere", seen["took_s"], GOAL_HEAL_S)
        fleet.network.cut([(a, b) for a in (1, 2) for b in (3, 4)])
        seen = self.verifier.check("cut", asked=self.where("alpha"), subject="gamma")
        story.claim("it is a real cut", holds=seen["holds"], seen=seen["seen"])
        self.write("alpha", "shop", {"replicas": 5})
        self.write("gamma", "shop", {"replicas": 8})
        for side in (*EU, *US):
            self.write(side, f"from-{side}", {"replicas": len(side)})
        story.tell(f"{len(self.ledger)} writes acknowledged so far, on both sides of the cut")
        seen = self.verifier.check("words", nodes=self.of(("beta",)), text=self.text, holder="alpha")
        story.claim("calls inside eu go on", holds=seen["holds"], seen=seen["seen"])
        seen = self.verifier.check("state", nodes=self.of(US), subject="alpha", states=["unreachable"])
        story.claim("us calls eu unreachable, not down: nobody refused it", holds=seen["holds"], seen=seen["seen"])
        self.heal("the cable is back")

    def heal(self, title: str) -> None:
        self.story.chapter(title[0].upper() + title[1:])
        self.fleet.network.heal()
        healed = time.monotonic()
        seen = self.verifier.check("documents", nodes=self.of(ALL), ledger=self.ledger, since=healed, wait_s=11)
        self.story.timed("all documents are equal, every acknowledged write is there", seen["took_s"], GOAL_HEAL_S)
        if not seen["holds"]:
            self.story.tell(seen["seen"])
        seen = self.verifier.check("members", nodes=self.of(ALL), names=list(ALL), since=healed)
        self.story.timed("every node lists the four as ready again", seen["took_s"], GOAL_MESH_S)
        seen = self.verifier.check("conflict", nodes=self.of(ALL), name="shop", field="spec.replicas", values=[5, 8])
        self.story.claim("the field both sides wrote keeps both values", holds=seen["holds"], seen=seen["seen"])

    def lie(self) -> None:
        story, fleet = self.story, self.fleet
        story.chapter("A member forges records in beta's name")
        invite = fleet.cli("alpha", "invite", "--name", "mallory")
        beta = fleet.cli("alpha", "describe", "node", "beta")
        order = {
            "addresses": [f"127.0.0.1:{port}" for port in fleet.network.fronts.values()], "document": "forged",
            "mark": "forged machine",
            "victim": {
                "node": beta["node_id"], "boot": beta["boot"], "wall_ms": int(time.time() * 1000),
                "record_key": fleet.cli("beta", "id")["record_key"],
                "member_file": str(fleet["beta"].directory / "identity" / "member"),
            },
        }  # fmt: skip
        command = [sys.executable, "-m", "tests.demo.forger", str(fleet.directory / "mallory")]
        done = subprocess.run(
            [*command, invite["token"], json.dumps(order)],
            cwd=ROOT, capture_output=True, text=True, timeout=40, check=False,
        )  # fmt: skip
        told = done.stdout.strip() or done.stderr.strip()[-300:]
        story.claim(
            "the forger got through to all four with its own certificate", holds=done.returncode == 0, seen=told
        )
        seen = self.verifier.check(
            "forged", nodes=self.of(ALL), victim="beta", document="forged", mark="forged machine"
        )
        story.claim("nobody believes it, every lie is counted", holds=seen["holds"], seen=seen["seen"])

    def kill_and_return(self) -> None:
        story, fleet = self.story, self.fleet
        story.chapter("alpha is killed, and comes back with the cable out")
        fleet.kill("alpha")
        killed = time.monotonic()
        seen = self.verifier.check(
            "state", nodes=self.of(ALL[1:]), subject="alpha", states=["ready"], since=killed, **{"not": True}
        )
        story.timed("the others avoid alpha", seen["took_s"], GOAL_AVOID_S)
        seen = self.verifier.check("on_disk", directory=self.where("alpha"), ledger=self.ledger)
        story.claim("alpha's journal holds every acknowledged write", holds=seen["holds"], seen=seen["seen"])
        fleet.network.cut([(1, other) for other in (2, 3, 4)])
        began = time.monotonic()
        fleet.up("alpha")
        seen = self.verifier.check("answers", asked=self.where("alpha"), since=began)
        story.timed("alone, alpha's API answers", seen["took_s"], GOAL_BOOT_S)
        seen = self.verifier.check("skill_back", asked=self.where("alpha"), since=began)
        story.timed("its agent answers", seen["took_s"], GOAL_AGENT_S)
        seen = self.verifier.check("knows", asked=self.where("alpha"), names=list(ALL), ledger=self.ledger)
        story.claim("it knows all it knew, with no link to anybody", holds=seen["holds"], seen=seen["seen"])
        self.write("alpha", "written-alone", {"replicas": 1})
        self.heal("alpha's cable is back")
        for line in fleet.cli("beta", "why", "alpha")["events"][-5:]:
            story.tell(f"why alpha, says beta: {line['text']}")

    def write(self, name: str, cluster: str, spec: dict[str, Any]) -> None:
        """Apply one AgentCluster by the command line; what was acknowledged goes into the ledger."""
        manifest = {"apiVersion": "v1", "kind": "AgentCluster", "metadata": {"name": cluster}, "spec": spec}
        path = self.fleet.directory / f"{cluster}.yaml"
        path.write_text(json.dumps(manifest))  # JSON is YAML
        self.fleet.cli(name, "apply", "-f", str(path))
        for field, value in spec.items():
            write = {"namespace": "default", "name": cluster, "field": field, "by": name}
            # A later write of the same node to the same field is meant to replace its earlier one.
            self.ledger = [w for w in self.ledger if {**w, "value": None} != {**write, "value": None}]
            self.ledger.append({**write, "value": value})

    def where(self, name: str) -> str:
        return str(self.fleet[name].directory)

    def of(self, names: tuple[str, ...]) -> dict[str, str]:
        return {name: self.where(name) for name in names}


def _leave(fleet: Fleet, verifier: Verifier, story: Story) -> None:
    """Nothing stays behind, and that is verified too."""
    story.chapter("The mesh goes down")
    pids = [node.process.pid for node in fleet.nodes if node.process is not None]
    forced = fleet.stop()
    story.claim("every daemon ended by itself when asked", holds=not forced, seen=f"killed: {forced or 'none'}")
    seen = verifier.check("gone", pids=pids, ports=list(fleet.network.fronts.values()))
    story.claim("no process and no port is left", holds=seen["holds"], seen=seen["seen"])


def _interrupted(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    parser = argparse.ArgumentParser(prog="make demo")
    parser.add_argument("--keep", action="store_true")
    parser.add_argument("--break", dest="fault", choices=FAULTS, default="")
    given = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupted)
    story = Story()
    fleet, verifier = Fleet(PLAN, given.fault), Verifier()
    load = os.getloadavg()[0]
    story.tell(
        f"load of this machine {load:.1f}, {os.cpu_count()} cores"
        + (f", planted: {given.fault}" if given.fault else "")
    )
    try:
        kept = _tell(fleet, verifier, story, keep=given.keep)
        return story.end()
    except KeyboardInterrupt:
        kept = False
        story.tell("interrupted")
        return 130
    finally:
        verifier.close()
        if not kept:
            fleet.stop()
            _remove(fleet.directory)


def _tell(fleet: Fleet, verifier: Verifier, story: Story, *, keep: bool) -> bool:
    """Play, then leave in order. True when the mesh was left running, as asked."""
    try:
        Demo(fleet, verifier, story).play()
    except Wrong:
        story.tell("the story stops here")
    except Broken as error:
        story.stops = False
        story.claim(str(error), holds=False)
    story.stops = False
    if story.wrong:
        for line in fleet.troubles():
            story.tell(line)
    elif keep:
        _stay(fleet, story)
        return True
    _leave(fleet, verifier, story)
    return False


def _stay(fleet: Fleet, story: Story) -> None:
    fleet.network.leave_running()
    story.chapter("The mesh keeps running")
    for node in fleet.nodes:
        story.tell(f".venv/bin/meshnode -C '{node.directory}' status")
    story.tell(f"end it: for d in '{fleet.directory}'/*/; do .venv/bin/meshnode -C \"$d\" down; done")
    story.tell(f"then:   rm -r '{fleet.directory}'")


def _remove(directory: Path) -> None:
    shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
