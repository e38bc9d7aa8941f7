"""Who looks on: watchers see what nodes do, checkers are watchers that know what may never happen."""

from __future__ import annotations

from typing import TYPE_CHECKING, NoReturn

from meshnode.kernel.instant import SECOND

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from meshnode.kernel.effects import Effect
    from meshnode.model.commands import AnyCommand
    from meshnode.model.views import AnyView
    from meshnode.node.effects import Announce
    from meshnode.node.inputs import Input
    from meshnode.sim.node import SimNode
    from meshnode.sim.world import World


class Watcher:
    """Sees all that a node does. Every method may be overridden; none changes anything."""

    def started(self, node: SimNode) -> None:
        """A new process has built its core; nothing was said yet."""

    def died(self, node: SimNode) -> None:
        """Its process is gone, in whatever way."""

    def asked(self, node: SimNode, number: int, command: AnyCommand) -> None:
        """Somebody stands at its door."""

    def handled(self, node: SimNode, event: Input, effects: Sequence[Effect]) -> None:
        """An input was handled; its effects are not performed yet."""

    def transmitted(self, node: SimNode) -> None:
        """Bytes leave for a peer."""

    def replied(self, node: SimNode, number: int, view: AnyView) -> None:
        """A command is answered."""

    def announced(self, node: SimNode, announce: Announce) -> None:
        """Something worth telling happened there."""

    def stepped(self, node: SimNode) -> None:
        """The end of one turn."""


class Audience:
    """All watchers of a world; each hook calls only those who look at it."""

    def __init__(self) -> None:
        self._watchers: list[Watcher] = []
        self.gather([])

    def gather(self, watchers: Sequence[Watcher]) -> None:
        """Add these."""
        self._watchers += watchers
        self.started = self._who("started")
        self.died = self._who("died")
        self.asked = self._who("asked")
        self.handled = self._who("handled")
        self.transmitted = self._who("transmitted")
        self.replied = self._who("replied")
        self.announced = self._who("announced")
        self.stepped = self._who("stepped")

    def _who(self, hook: str) -> list[Watcher]:
        return [each for each in self._watchers if getattr(type(each), hook) is not getattr(Watcher, hook)]


class Violated(Exception):
    """Something happened that may never happen. The text names the checker, the time, the node and the fact."""

    def __init__(self, checker: str, at_us: int, node: str, what: str) -> None:
        super().__init__(f"{checker}: at {at_us / 1e6:.6f} s on {node}: {what}")
        self.checker, self.node, self.what = checker, node, what


def violation_of(play: Callable[[], object]) -> str:
    """What happened while it was played that may never happen; "" for nothing."""
    try:
        play()
    except Violated as violated:
        return str(violated)
    return ""


class Checker(Watcher):
    """One promise. ``look`` comes every virtual second, ``finish`` once all is healed and at rest."""

    def __init__(self, world: World) -> None:
        self.world = world

    @property
    def name(self) -> str:
        return type(self).__name__

    def look(self) -> None:
        """What is too costly to ask after every step."""

    def finish(self) -> None:
        """What is true only at rest."""

    def wrong(self, node: SimNode | None, what: str) -> NoReturn:
        raise Violated(self.name, self.world.now_us, node.name if node else "all nodes", what)


def look_on(world: World, checkers: Sequence[Checker]) -> None:
    """Now and every virtual second from now on; checkers that are added meanwhile look on as well."""
    for checker in checkers:
        checker.look()
    world.at(world.now_us + SECOND, lambda: look_on(world, checkers))
