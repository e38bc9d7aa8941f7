"""No node is special: whichever is killed, the others call each other and place agents as before."""

import threading
import time

from bench.nodes import Nodes
from bench.rows import Anchor, Meter, Row
from meshnode.model.commands import CallSkill
from meshnode.model.errors import LocalError

WATCH_S = 4.0  # from before the kill until long after the dead node is known to be dead
BEFORE_S = 0.5
PLACED_S = 10.0
NO_ANCHOR = Anchor(
    name="Ray 2.60.0, head killed",
    why="not repeated here: 60 s after the loss of its head all of a Ray cluster ends (documented default)",
)


class Caller(threading.Thread):
    """Calls from one node to the agent of another, without a second try."""

    def __init__(self, mesh: Nodes, through: str, to: str) -> None:
        super().__init__(name=f"{through} -> {to}", daemon=True)
        self._client, self._skill = mesh.clients[through], f"echo-{to}.echo"
        self._ending = threading.Event()
        self.answered = 0
        self.errors: list[str] = []
        self.slowest_s = 0.0

    def run(self) -> None:
        while not self._ending.is_set():
            began = time.monotonic()
            try:
                self._client.call(CallSkill(skill=self._skill, arguments={"payload": "x"}, deadline_s=5.0))
                self.answered += 1
            except LocalError as error:
                self.errors.append(f"{self.name}: {error.message}")
            self.slowest_s = max(self.slowest_s, time.monotonic() - began)
            self._ending.wait(0.005)

    def end(self) -> None:
        self._ending.set()
        self.join()


def no_head(mesh: Nodes, *, victims: int) -> Row:
    """Kill the first node, then the others in turn; each is back before the next one goes."""
    meter = Meter()
    for name in mesh.names:
        mesh.run(name, f"echo-{name}", "echo.py", on=name)
    _all_answer(mesh)
    errors: list[str] = []
    answered, slowest_s, placed = 0, 0.0, []
    for victim in mesh.names[:victims]:
        left = [name for name in mesh.names if name != victim]
        callers = [Caller(mesh, a, b) for a in left for b in left if a != b]
        for caller in callers:
            caller.start()
        time.sleep(BEFORE_S)
        mesh.kill(victim)
        placed.append(_place(mesh, left[0], f"after-{victim}", errors))
        time.sleep(WATCH_S)
        for caller in callers:
            caller.end()
            errors += caller.errors
            answered, slowest_s = answered + caller.answered, max(slowest_s, caller.slowest_s)
        mesh.up(victim)
        mesh.whole()
        _all_answer(mesh)  # its agent has started again, and everybody knows: before the next one is killed
    each = ", ".join(f"{took:.2f}" for took in placed)
    why = (
        f"killed {', '.join(mesh.names[:victims])} (the first made the mesh); {answered} calls between survivors, "
        f"slowest {slowest_s * 1000:.0f} ms; a new agent answers {each} s after each kill"
        + (f"; {errors[0]}" if errors else "")
    )
    return meter.row("no-head", len(errors), "errors", 0, n=victims, why=why, anchor=NO_ANCHOR)


def _all_answer(mesh: Nodes) -> None:
    """Until every node reaches the agent of every other."""
    for name in mesh.names:
        for to in mesh.names:
            mesh.call(name, f"echo-{to}.echo", payload="x")


def _place(mesh: Nodes, node: str, name: str, errors: list[str]) -> float:
    """Seconds until an agent wanted now, anywhere, answers."""
    began = time.monotonic()
    try:
        mesh.run(node, name, "echo.py")
        mesh.call(node, f"{name}.echo", payload="x", within_s=PLACED_S)
    except LocalError as error:
        errors.append(f"placement: {error.message}")
    took = time.monotonic() - began
    mesh.clients[node].stop(name)
    return took
