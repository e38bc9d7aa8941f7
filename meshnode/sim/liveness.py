"""What must come true once everything works again: one directory, equal documents, everybody ready, every unit run
once, every skill callable.
"""

from collections.abc import Sequence

from meshnode.gossip.messages import MemberState
from meshnode.kernel.instant import SECOND
from meshnode.model.commands import CallSkill
from meshnode.model.views import CallView
from meshnode.sim.node import SimNode
from meshnode.sim.units import odd_units
from meshnode.sim.watching import Violated
from meshnode.sim.world import World

CALL_S = 5.0
ROUND_S = 0.25
CARRY_S = 120.0  # 40 s at most until a holder has his turn, and so long again where what was carried ends a generation


def unmet(world: World) -> dict[str, str]:
    """What is not so yet, by name, with one example."""
    nodes = world.running()
    lacking = unmet_by_gossip(world)
    documents = {node.name: node.core.documents.root() for node in nodes if node.core}
    if len(dict.fromkeys(documents.values())) > 1:
        lacking["documents"] = _odd_one(documents)
    if odd := odd_units(world):
        lacking["owners"] = odd
    return lacking


def unmet_by_gossip(world: World) -> dict[str, str]:
    """The part of it that is about nodes: all run, hold one directory, and see each other ready."""
    nodes = world.running()
    lacking: dict[str, str] = {}
    down = [node.name for node in world.nodes if not node.usable]
    if down:
        lacking["running"] = f"{', '.join(down)}: no process"
    directories = {node.name: node.core.gossip.directory_root() for node in nodes if node.core}
    if len(dict.fromkeys(directories.values())) > 1:
        lacking["directory"] = _odd_one(directories)
    unready = next((text for node in nodes if (text := _unready(world, node))), "")
    if unready:
        lacking["ready"] = unready
    return lacking


def _unready(world: World, node: SimNode) -> str:
    assert node.core is not None
    gossip = node.core.gossip
    members = dict.fromkeys(gossip.members())
    for other in world.nodes:
        state = gossip.state(other.node) if other.node in members else None
        if state is not MemberState.READY:
            return f"{node.name} shows {other.name} as {state.value if state else 'unknown'}"
    return ""


def _odd_one(roots: dict[str, bytes]) -> str:
    counts: dict[bytes, list[str]] = {}
    for name, root in roots.items():
        counts.setdefault(root, []).append(name)
    groups = sorted(counts.values(), key=len, reverse=True)
    return " | ".join(f"{','.join(group[:6])}{',...' if len(group) > 6 else ''}" for group in groups[:4])


def settle(world: World, within_s: float) -> dict[str, float]:
    """Run until nothing is unmet. Seconds until each condition was met for good.

    Raises:
        Violated: time is up.
    """
    began_us = world.now_us
    met: dict[str, float] = {}
    while True:
        lacking = unmet(world)
        now_s = (world.now_us - began_us) / SECOND
        for name in ("running", "directory", "documents", "ready", "owners"):
            if name in lacking:
                met.pop(name, None)
            else:
                met.setdefault(name, now_s)
        if not lacking:
            return met
        if now_s >= within_s:
            what = "; ".join(f"{name}: {example}" for name, example in lacking.items())
            raise Violated("Liveness", world.now_us, "all nodes", f"not within {within_s:g} s of the healing: {what}")
        world.run_for(ROUND_S)


def carry(world: World) -> None:
    """Run until no node has writes left to carry over to a root that has not seen them. Who may not write them goes on
    trying, so it ends after ``CARRY_S`` anyway."""
    world.run_till(lambda: not any(node.core and node.core.documents.is_carrying for node in world.nodes), CARRY_S)


def answer_calls(world: World, skills: Sequence[str], within_s: float) -> float:
    """Every node calls every skill until it has been answered once. Seconds until the last one was.

    Raises:
        Violated: somebody could not in time.
    """
    began_us = world.now_us
    open_calls = {(node.name, skill): "never asked" for node in world.nodes for skill in skills}
    while open_calls:
        asked = {key: (world.named(key[0]), CallSkill(skill=key[1], deadline_s=CALL_S)) for key in open_calls}
        answers = world.ask_all(list(asked.values()), CALL_S + 1.0)
        for key, view in zip(asked, answers, strict=True):
            if isinstance(view, CallView):
                del open_calls[key]
            else:
                open_calls[key] = f"{getattr(view, 'code', 'no answer')}: {getattr(view, 'message', '')}"
        if open_calls and (world.now_us - began_us) / SECOND >= within_s:
            (name, skill), why = next(iter(open_calls.items()))
            raise Violated("Liveness", world.now_us, name, f"cannot call {skill} after {within_s:g} s: {why}")
        if open_calls:
            world.run_for(1.0)
    return (world.now_us - began_us) / SECOND
