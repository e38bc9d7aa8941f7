"""The daemon of this bench, with the time of each step of a row's way through it, and what each waking cost.

Beside what ``daemon.py`` says it writes, at its end, a ``Trace`` into the directory that ``MESHNODE_HOPS`` names. Times
are nanoseconds of CLOCK_MONOTONIC, which all processes of a machine share. With it a row costs an eighth more of the
processor.
"""

import os
import re
import selectors
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec

from bench.gossip.daemon import Overheard, serve
from meshnode.daemon import wiring
from meshnode.gossip.letters import Graft, IHave, Prune, Push, SoftBatch, SoftRefresh
from meshnode.gossip.messages import Described
from meshnode.host.transport import Transport
from meshnode.kernel.effects import Channel, Effect, Send
from meshnode.kernel.instant import Instant
from meshnode.links.messages import ControlReceived, LinkOpened, Transmit
from meshnode.node.inputs import Input

DIRECTORY = "MESHNODE_HOPS"
GOT, HELD, WROTE = "got", "held", "wrote"  # a row came; is held; is about to be given to the socket
WORDS = {Push: "rumour", IHave: "ids", Graft: "graft", Prune: "prune", SoftBatch: "facts", SoftRefresh: "refresh"}
LETTERS = {letter.__struct_config__.tag: word for letter, word in WORDS.items()}  # by their first item
_TOKEN = re.compile(rb'"bench": ?"(\w+)')


class Step(msgspec.Struct, frozen=True, array_like=True):
    """Of one row's way. ``peer``: it came from there, or goes there."""

    at_ns: int
    what: str
    token: str
    peer: str = ""


class Waking(msgspec.Struct, frozen=True, array_like=True):
    """From one sleep of the event loop to the next. ``waited_ns``: of the time from ``slept_ns`` to ``woke_ns`` so much
    passed after there was something to do, while others had the processors."""

    slept_ns: int
    woke_ns: int
    waited_ns: int
    cpu_ns: int
    did: str


class Trace(msgspec.Struct):
    """Of one node."""

    node: str = ""
    steps: list[Step] = []
    wakings: list[Waking] = []


class Notes:
    """What this process has seen so far."""

    def __init__(self) -> None:
        self.trace = Trace()
        self.peers: dict[int, str] = {}  # by link
        self._did: dict[str, None] = {}
        self._pushed: dict[str, list[str]] = {}  # by peer: tokens that leave with the end of this turn
        self._stat = os.open("/proc/thread-self/schedstat", os.O_RDONLY)
        self._slept_ns = self._woke_ns = self._waited_ns = self._cpu_ns = 0

    def keep(self, what: object) -> None:
        """For the harness, under the name of this node."""
        Path(os.environ[DIRECTORY], f"{self.trace.node}.json").write_bytes(msgspec.json.encode(what))

    def does(self, what: str) -> None:
        self._did[what] = None

    def step(self, what: str, token: str, peer: str = "") -> None:
        self.trace.steps.append(Step(time.monotonic_ns(), what, token, peer))

    def letter(self, way: str, peer: str, body: bytes) -> None:
        kind = LETTERS.get(body[1], "letter")
        self.does(f"{kind} {'in' if way == GOT else 'out'}")
        found = _TOKEN.search(body) if kind == "rumour" else None
        if found is None:
            return
        if way == GOT:
            self.step(GOT, found[1].decode(), peer)
        else:
            self._pushed.setdefault(peer, []).append(found[1].decode())

    def writes(self, link: int) -> None:
        peer = self.peers.get(link, "")
        for token in self._pushed.pop(peer, ()):
            self.step(WROTE, token, peer)

    def sleeps(self) -> int:
        """Returns for how long this thread has waited for a processor so far."""
        cpu_ns, did = time.thread_time_ns(), self.did()
        self.trace.wakings.append(Waking(self._slept_ns, self._woke_ns, self._waited_ns, cpu_ns - self._cpu_ns, did))
        self._cpu_ns, self._slept_ns = cpu_ns, time.monotonic_ns()
        return self._waited()

    def did(self) -> str:
        """Since it was asked last."""
        did, self._did = ", ".join(self._did) or "nothing", {}
        return did

    def wakes(self, waited_ns: int) -> None:
        self._woke_ns, self._waited_ns = time.monotonic_ns(), self._waited() - waited_ns

    def _waited(self) -> int:
        return int(os.pread(self._stat, 64, 0).split()[1])


class Traced(Overheard):
    """Notes each row that comes, is held and leaves."""

    def __init__(self, *given: object) -> None:
        super().__init__(*given)  # type: ignore[arg-type]  # as Core
        notes.trace.node = self.config.node.hex()

    def handle(self, event: Input, now: Instant) -> list[Effect]:
        notes.does(type(event).__name__)
        if isinstance(event, LinkOpened):
            notes.peers[event.link] = event.peer.hex()
        return super().handle(event, now)

    def wake(self, now: Instant) -> list[Effect]:
        notes.does("timers")
        return super().wake(now)

    def _carry(self, effect: Effect, now: Instant) -> Sequence[Effect] | None:
        match effect:
            case ControlReceived(peer, Channel.GOSSIP, body):
                notes.letter(GOT, peer.hex(), body)
            case Send(peer, Channel.GOSSIP, body):
                notes.letter(WROTE, peer.hex(), body)
            case Described(node):
                row = self.gossip.row(node)
                found = _TOKEN.search(row.facts) if row is not None else None
                if found is not None:
                    notes.step(HELD, found[1].decode())
            case _:
                pass
        return super()._carry(effect, now)


class Watched(selectors.EpollSelector):
    """Tells when the loop sleeps and wakes."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        if timeout is not None and timeout <= 0:
            return super().select(timeout)
        waited_ns = notes.sleeps()
        events = super().select(timeout)
        notes.wakes(waited_ns)
        return events


class Writing(Transport):
    """Tells what is about to be written."""

    def transmit(self, effect: Transmit) -> None:
        notes.writes(effect.link)
        super().transmit(effect)


notes = Notes()


def main() -> int:
    selectors.DefaultSelector = Watched
    wiring.Transport = Writing
    status = serve(Traced)
    notes.keep(notes.trace)
    return status


if __name__ == "__main__":
    os._exit(main())
