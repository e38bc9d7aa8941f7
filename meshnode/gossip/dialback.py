"""Whether anybody can dial this node: two neighbours at other addresses try, when no link ever came in by itself.

A link that came in directly is proof enough, and most nodes have one soon. Who has none asks two neighbours to dial the
addresses in its row; if none of several reaches it, twice, it counts as undialable, takes relays, and asks on from time
to time. Only what stands in the asker's own signed row is dialled, which everybody may dial anyway: nobody can point
others at a third machine by it.

Invariants: an asker has one round under way; who is asked has at most ``PROBES_MAX`` dials for others under way.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from meshnode.gossip.config import GossipConfig
from meshnode.gossip.directory import Directory
from meshnode.gossip.letters import Dialback, Tried, post
from meshnode.gossip.relays import Address, direct
from meshnode.kernel.counters import Counters
from meshnode.kernel.effects import Dial, Effect
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.reasons import DialFailure
from meshnode.kernel.timers import Timers
from meshnode.model.ids import NodeId

ASKED = 2
FIRST_US = 15 * SECOND  # time enough for others to come in by themselves
AGAIN_US = 20 * SECOND  # a second round before it is believed
HIDDEN_US = 120 * SECOND  # how often one who is hidden asks whether it still is
OPEN_US = 1_800 * SECOND  # how long a proof is good for
WAIT_US = 15 * SECOND  # for the answers of a round
ROUNDS = 2
PROBES_MAX = 8
ADDRESSES_MAX = 2  # of one row are tried
TRIED_US = 10 * SECOND  # longer than a host dials

UNKNOWN, REACHED, FAILED = 0, 1, 2
WORDS = {UNKNOWN: "unknown", REACHED: "reached", FAILED: "failed"}
Probe = Callable[[NodeId, Address, Instant], Dial]


class Asking:
    """The side of a node that wants to know. ``hidden``: nobody can dial it, by ``tried``."""

    def __init__(self, config: GossipConfig, directory: Directory, counters: Counters | None = None) -> None:
        self._config, self._directory = config, directory
        self._counters = counters or Counters()
        self.hidden = False
        self.tried: tuple[NodeId, ...] = ()
        self._willing: dict[NodeId, None] = {}  # linked, and of a version that dials back
        self._round: dict[NodeId, int | None] = {}
        self._number = self._failed = 0
        self._due_us: int | None = None
        self._over_us: int | None = None

    def start(self, now: Instant) -> None:
        """Who names no address knows already."""
        if direct(self._config.endpoints):
            self._due_us = now.mono_us + FIRST_US

    def greeted(self, peer: NodeId, *, dials_back: bool) -> None:
        if dials_back:
            self._willing[peer] = None

    def down(self, peer: NodeId) -> None:
        self._willing.pop(peer, None)
        self._round.pop(peer, None)

    def came_in(self, address: str, now: Instant) -> bool:
        """Somebody dialled this node. True: that is news."""
        return not address.startswith("relay/") and self._due_us is not None and self._proven(now)

    def answered(self, peer: NodeId, letter: Tried, now: Instant) -> bool:
        """True: it is known now, and was not."""
        if letter.number != self._number or peer not in self._round:
            return False
        self._round[peer] = letter.outcome
        self._counters.add(f"dialback-{WORDS.get(letter.outcome, WORDS[UNKNOWN])}")
        done = letter.outcome == REACHED or None not in self._round.values()
        return done and self._conclude(now)

    def wake(self, now: Instant) -> tuple[list[Effect], bool]:
        """Letters to send, and whether it is known now and was not."""
        if self._over_us is not None:
            return [], self._over_us <= now.mono_us and self._conclude(now)
        if self._due_us is None or self._due_us > now.mono_us:
            return [], False
        asked = self._choose()
        if len(asked) < ASKED:
            self._due_us = now.mono_us + HIDDEN_US
            return [], False
        self._number += 1
        self._round = dict.fromkeys(asked)
        self._over_us = now.mono_us + WAIT_US
        return [post(peer, Dialback(self._number)) for peer in asked], False

    def deadline(self) -> int | None:
        return self._due_us if self._over_us is None else self._over_us

    def _conclude(self, now: Instant) -> bool:
        outcomes, asked = list(self._round.values()), tuple(self._round)
        self._round, self._over_us = {}, None
        if REACHED in outcomes:
            return self._proven(now)
        if outcomes.count(FAILED) < ASKED:
            self._due_us = now.mono_us + HIDDEN_US
            return False
        self._failed += 1
        self._due_us = now.mono_us + (HIDDEN_US if self._failed >= ROUNDS else AGAIN_US)
        if self.hidden or self._failed < ROUNDS:
            return False
        self.hidden, self.tried = True, asked
        return True

    def _proven(self, now: Instant) -> bool:
        self._failed, self._due_us = 0, now.mono_us + OPEN_US
        self._round, self._over_us = {}, None
        was, self.hidden, self.tried = self.hidden, False, ()
        return was

    def _choose(self) -> list[NodeId]:
        """Two at addresses that differ from ours and from each other's, those of other regions first."""
        taken = dict.fromkeys(host for host, _ in direct(self._config.endpoints))
        chosen: list[NodeId] = []
        for node in sorted(self._willing, key=self._is_near):
            entry = self._directory.entry(node)
            hosts = [host for host, _ in direct(entry.row.endpoints)] if entry is not None else []
            if hosts and not any(host in taken for host in hosts):
                taken |= dict.fromkeys(hosts)
                chosen.append(node)
            if len(chosen) == ASKED:
                break
        return chosen

    def _is_near(self, node: NodeId) -> bool:
        entry = self._directory.entry(node)
        return entry is not None and entry.member.region == self._config.region


@dataclass(slots=True)
class _Errand:
    """What was asked by a neighbour: dials under way, and whether any of those that ended says something."""

    number: int
    open: dict[int, None] = field(default_factory=dict[int, None])
    failed: bool = False


class Trying:
    """The side of a node that is asked. ``probe``: one dial beside a link that stands."""

    def __init__(self, directory: Directory, probe: Probe) -> None:
        self._directory, self._probe = directory, probe
        self._errands: dict[NodeId, _Errand] = {}
        self._by_dial: dict[int, NodeId] = {}
        self._late: Timers[NodeId] = Timers()

    def asked(self, peer: NodeId, letter: Dialback, now: Instant) -> list[Effect]:
        entry = self._directory.entry(peer)
        addresses: Sequence[Address] = direct(entry.row.endpoints)[:ADDRESSES_MAX] if entry is not None else ()
        if not addresses or peer in self._errands or len(self._by_dial) >= PROBES_MAX:
            return [post(peer, Tried(letter.number, UNKNOWN))]
        errand = self._errands[peer] = _Errand(letter.number)
        self._late.set(peer, now.mono_us + TRIED_US)
        dials = [self._probe(peer, address, now) for address in addresses]
        for dial in dials:
            errand.open[dial.dial_no] = None
            self._by_dial[dial.dial_no] = peer
        return list[Effect](dials)

    def ended(self, dial_no: int, how: DialFailure | None) -> list[Effect]:
        """A dial ended; ``None``: whoever was meant has answered it."""
        peer = self._by_dial.pop(dial_no, None)
        if peer is None:
            return []
        errand = self._errands[peer]
        del errand.open[dial_no]
        errand.failed |= how not in (None, DialFailure.UNREACHABLE)  # no route from here says nothing about it
        if how is None:
            return self._answer(peer, REACHED)
        return [] if errand.open else self._answer(peer, FAILED if errand.failed else UNKNOWN)

    def down(self, peer: NodeId) -> None:
        self._forget(peer)

    def wake(self, now: Instant) -> list[Effect]:
        return [effect for peer in self._late.pop_due(now.mono_us) for effect in self._answer(peer, FAILED)]

    def deadline(self) -> int | None:
        return earliest(self._late.deadline())

    def _answer(self, peer: NodeId, outcome: int) -> list[Effect]:
        errand = self._forget(peer)
        return [post(peer, Tried(errand.number, outcome))] if errand is not None else []

    def _forget(self, peer: NodeId) -> _Errand | None:
        errand = self._errands.pop(peer, None)
        if errand is not None:
            self._late.cancel(peer)
            for dial_no in errand.open:
                del self._by_dial[dial_no]
        return errand
