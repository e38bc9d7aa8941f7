"""Failure detection by neighbours: who is silent, who refuses, what other observers say, and what that makes a node.

Two consumers, two thresholds: routing avoids a suspect at once; a verdict of ``down`` waits for the rules of
``verdict.py``. Nothing is probed at random: any traffic of a link is its heartbeat.
"""

from collections.abc import Callable, Iterable, Sequence

from meshnode.gossip.alerts import Alert
from meshnode.gossip.config import GossipConfig
from meshnode.gossip.council import Council
from meshnode.gossip.directory import Entry
from meshnode.gossip.docket import Docket
from meshnode.gossip.doubts import Doubts
from meshnode.gossip.flaps import Flaps
from meshnode.gossip.hearsay import Hearsay
from meshnode.gossip.letters import Doubt, Probe, ProbeAck, Standing, post
from meshnode.gossip.messages import MemberChanged, MemberState
from meshnode.gossip.silence import ABSENT_US, LATE_US, Health, Silence
from meshnode.gossip.subject import Subject
from meshnode.gossip.subjects import Subjects
from meshnode.gossip.telling import Telling
from meshnode.gossip.verdict import STRONG, Evidence, cut_region
from meshnode.kernel.effects import Effect, Hangup, Note
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.ports import LinkStats
from meshnode.kernel.reasons import Bye, DialFailure, Loss
from meshnode.kernel.rng import Random
from meshnode.kernel.timers import Timers
from meshnode.links.config import PACE_MAX_US
from meshnode.model.ids import NodeId

BROKEN_GRACE_US = 100 * MS  # for the fresh dial to say more than "broken"
SILENT_GRACE_US = 500 * MS  # for the indirect probe
BLAME_SELF_US = 2 * SECOND  # who loses most links at once is cut off itself, and says nothing for a while
HELPERS_MAX = 3
HEARD_MS = 1_500  # a helper that heard the subject this lately vouches for it
HELPED_US = 2_500 * MS  # a helper's word counts for so long after what it heard: it may have been cut off, too
HELP_AGAIN_US = SECOND  # it is asked again by then
ROUNDS_MAX = 4  # how far a change may be followed in one turn
BACK_US = 5 * SECOND  # so long after lost ones came back, a silence that others tell of is the cut that is over
_NOT_A_LOSS = (Loss.CLOSED, Loss.REPLACED)


class Redial(Effect, frozen=True):
    """The detector wants a fresh dial now: refusal is evidence, an answer is proof. Carried out inside the room."""

    node: NodeId


class Recovered(Effect, frozen=True):
    """A silent link speaks again. Carried out inside the room."""

    node: NodeId


class Detector:
    """All subjects and their verdicts."""

    def __init__(self, config: GossipConfig, links: LinkStats, rng: Random, subjects: Subjects) -> None:
        self._config, self._links, self._rng, self._subjects = config, links, rng, subjects
        self.pace_us: Callable[[NodeId], int] = lambda _node: 0  # see ``Gossip.keep_paces``
        self._council = Council(config, self._subjects, links)
        self._silences: dict[NodeId, Silence] = {}
        self._hearsay = Hearsay(subjects)
        self._docket = Docket(subjects.doubtful)
        self._telling = Telling()
        self._doubts = Doubts()
        self._helps: Timers[NodeId] = Timers()
        self._poll_us: int | None = None
        self._calm_us = 0  # blame nobody before
        self._back_us = -BACK_US  # when somebody came back last
        self._health = Health()
        self._flaps = Flaps()

    # -- questions ----------------------------------------------------------------------------------------------------

    def subject(self, node: NodeId) -> Subject | None:
        """To be read, at once: most nodes have no object of their own."""
        return self._subjects.view(node)

    def subjects(self) -> Iterable[Subject]:
        """Everybody: a walk over the directory."""
        return self._subjects.all()

    def notable(self) -> Iterable[Subject]:
        """Who is linked, doubted or not ready; nobody else needs attention."""
        return self._subjects.notable()

    def state(self, node: NodeId) -> MemberState | None:
        """The verdict alone, which costs a look or two; ``None``: not known, or forgotten."""
        return self._subjects.state(node)

    def proof_us(self, node: NodeId) -> int | None:
        """The last sign of life seen here; kept for those with an object only."""
        held = self._subjects.held(node)
        return held.proof_us if held else None

    def observers(self, node: NodeId) -> list[NodeId]:
        subject = self._subjects.view(node)
        return self._council.observers(subject) if subject else []

    def deserted(self, region: str) -> bool:
        """Nobody of a region is ready in this node's eyes."""
        mine = region == self._config.region
        return self._subjects.silent(region) >= self._subjects.living(region) - mine

    def lost(self, node: NodeId) -> bool:
        return node in self._subjects.doubtful

    def away_us(self, node: NodeId, now: Instant) -> int:
        """Since when something speaks against it; 0: nothing does."""
        subject = self._subjects.doubtful.get(node)
        return now.mono_us - subject.since_us if subject is not None else 0

    def many(self, now: Instant) -> bool:
        """Many are lost in this moment, here or in the whole mesh: what two others have proved nobody says again, nor
        passes on. All a verdict needs are two, of which one may be its own, and who hears a third passed two on."""
        return self._docket.crowded or self._council.many_lost(now)

    def standing(self) -> Standing | None:
        """What to tell a new neighbour about the others."""
        return self._hearsay.standing(self._config.whole_mesh_max)

    # -- rows ---------------------------------------------------------------------------------------------------------

    def learn(
        self, subject: Subject, source: NodeId | None, now: Instant, *, alive_now: bool, before: Entry | None = None
    ) -> list[Effect]:
        """A row that is news. ``alive_now``: a fresh rumour; else it may be old, and its source's word counts.

        ``before``: the row it replaced, unless that one was forgotten.
        """
        held = self._subjects.held(subject.node)
        if held is None:
            held = self._subjects.learnt(subject, before)
            held.linked = subject.node in self._silences
            held.observed = held.observed or held.linked
        else:
            self._council.signed(held, subject.boot, now)
            large = self._subjects.count() >= self._config.full_mesh_max
            held.advance(subject.boot, subject.incarnation, elsewhere=alive_now and large)
            self._subjects.describe(held, subject.name, subject.region, left=subject.left)
        if alive_now:
            held.vouched, held.proof_us = True, now.mono_us
        elif source is not None and not held.vouched:
            self._hearsay.hear(held, source)
        return self._settle(held, now)

    def retold(self, node: NodeId, incarnation: int, now: Instant) -> bool:
        """A newer row of the same boot that only tells other facts: true if that is all, else it is to be learnt."""
        return self._subjects.retold(node, incarnation, now.mono_us)

    def forget(self, node: NodeId) -> None:
        self._subjects.forget(node)
        self._council.forget(node)
        self._flaps.forget(node)
        self._cancel(node)

    def told_standing(self, peer: NodeId, letter: Standing, now: Instant) -> list[Effect]:
        """A neighbour's view fills the gaps of ours; it never overrules what we or other observers saw."""
        return [effect for subject in self._hearsay.told(peer, letter, now) for effect in self._settle(subject, now)]

    def vouch(self, node: NodeId, proof_us: int, now: Instant) -> list[Effect]:
        """The node signed something lately."""
        subject = self._subjects.held(node)
        if subject is None and self._subjects.state(node) is MemberState.UNREACHABLE:
            subject = self._subjects.take(node)
        if subject is None or proof_us <= (subject.proof_us or 0):
            return []
        subject.proof_us = proof_us
        if subject.vouched:
            return []
        subject.vouched = True
        return self._settle(subject, now)

    def expired(self, node: NodeId, now: Instant) -> list[Effect]:
        """All its perishable facts expired: nobody has heard of it for long."""
        subject = self._subjects.take(node)
        if subject is None or subject.linked:
            return []
        subject.vouched, subject.hearsay = False, None
        return self._settle(subject, now)

    # -- links --------------------------------------------------------------------------------------------------------

    def up(self, peer: NodeId, boot: int, now: Instant) -> list[Effect]:
        since_us, config = max(now.mono_us, self._calm_us), self._config
        self._silences[peer] = Silence(since_us, config.silence_us, config.ping_us, boot)
        self._poll_us = self._poll_us or now.mono_us + self._config.poll_us
        subject = self._subjects.take(peer)
        if subject is None:
            return []
        subject.linked = subject.observed = True
        return self._acquit(subject, now)

    def down(self, peer: NodeId, how: Loss, bye: str, now: Instant) -> list[Effect]:
        silence = self._silences.pop(peer, None)
        self._hearsay.down(peer)
        self._doubts.cancel(peer)
        subject = self._subjects.take(peer)
        if subject is None:
            return []
        subject.linked, subject.vouched = False, True
        former = silence is not None and silence.boot < subject.boot  # its end is told late: another process runs
        if bye == Bye.SHUTDOWN and not former:
            return self._accuse(subject, Evidence.GOODBYE, now)
        if bye or former or how in _NOT_A_LOSS:
            return self._settle(subject, now)
        kind = Evidence.SILENT if how is Loss.SILENT else Evidence.BROKEN
        return [Redial(peer), *self._accuse(subject, kind, now)]

    def heard(self, peer: NodeId, now: Instant) -> list[Effect]:
        """A letter arrived: proof of life."""
        subject = self._subjects.held(peer)
        if subject is None or peer not in self._silences:
            return []
        subject.proof_us = now.mono_us
        if subject.own is None:
            return []
        return [Recovered(peer), *self._acquit(subject, now)]

    def dial_failed(self, node: NodeId, how: DialFailure, now: Instant, *, proven: bool) -> list[Effect]:
        """``proven``: the address has been this node's, or a link to it has just broken; else a refusal says little."""
        subject = self._subjects.take(node)
        if subject is None or subject.fresh:
            return []
        match how:
            case DialFailure.REFUSED:
                strong = proven or subject.own is Evidence.BROKEN
                return self._accuse(subject, Evidence.REFUSED if strong else Evidence.SILENT, now)
            case DialFailure.TIMEOUT:
                return self._accuse(subject, Evidence.SILENT, now)
            case DialFailure.UNREACHABLE | DialFailure.UNTRUSTED:
                return self._accuse(subject, Evidence.NO_ROUTE, now)

    def broken_off(self, node: NodeId, now: Instant) -> list[Effect]:
        """TLS stood, and ended without a word before the two had met: whoever answered was this node, and was there a
        moment ago. What became of it a fresh dial will say, one for each story: it may break off all that come."""
        subject = self._subjects.take(node)
        if subject is None or subject.fresh:
            return []
        first = subject.own is None or subject.own < Evidence.BROKEN
        return [*([Redial(node)] if first else []), *self._accuse(subject, Evidence.BROKEN, now)]

    # -- doubts and votes ---------------------------------------------------------------------------------------------

    def doubt(self, peer: NodeId, now: Instant) -> list[Effect]:
        """Traffic is the fast detector: something is missing, so ask the peer and others now, soon its listener too.

        A slow agent on a healthy node is the usual cause, so the fresh dial waits for the peer's own answer.
        """
        if peer not in self._silences or not self._doubts.ask(peer, self._links.rtt_us(peer) or 0, now):
            return []
        return [post(peer, Probe(peer)), *self._ask_others(peer)]

    def voted(self, alert: Alert, now: Instant) -> list[Effect] | None:
        """Another observer's checked alert. ``None``: where many are lost, one that nobody needs any more."""
        held = self._subjects.held(alert.subject)
        subject = held or self._subjects.view(alert.subject)
        if subject is None or alert.boot != subject.boot or alert.incarnation != subject.incarnation:
            return []
        self._council.spoke(alert, now)
        if held is None:
            self._subjects.put(subject)
        elif held.proven and self.many(now):
            return None
        subject.observed_by(alert.observers)
        news = subject.vote(alert.observer, alert.kind, now.mono_us)
        means = alert.kind >= STRONG or now.mono_us >= self._back_us + BACK_US
        asks = self.doubt(subject.node, now) if news and means and subject.fresh else []
        self._subjects.note(subject)
        return asks if self._docket.puts_off(subject, now) else [*self._settle(subject, now), *asks]

    def neighbours(self, node: NodeId, links: Sequence[NodeId]) -> None:
        """Who else observes a neighbour, by its own word."""
        subject = self._subjects.held(node)
        if subject is not None:
            subject.observers = dict.fromkeys(links)

    def paced(self, peer: NodeId, pace_us: int) -> None:
        """A neighbour says after how much quiet it pings: the link keeps the pace of the slower of its ends."""
        if peer in self._silences:
            self._silences[peer].keep_pace(max(self._config.ping_us, min(pace_us, PACE_MAX_US)))

    def disturbed(self, for_us: int, now: Instant) -> list[Effect]:
        """This machine was away: its clocks prove nothing about others."""
        self._health.late(LATE_US, now.mono_us)
        self._calm_us = now.mono_us + for_us
        self._flaps.calm(self._calm_us)
        for silence in self._silences.values():
            silence.void(self._calm_us)
        return []

    def woken(self, late_us: int, now: Instant) -> None:
        """What was due was due so long ago. Whoever was away is told before he reads what others did meanwhile: links
        they gave up long ago look as if they broke just now. The host may say so as well, but not each time."""
        self._lag(late_us, now)
        self._poll_us = max(self._poll_us, now.mono_us) if self._poll_us is not None else None

    def probed(self, peer: NodeId, subject: NodeId, now: Instant) -> list[Effect]:
        """Answer a probe from what our own link knows: it pings after a second of quiet anyway."""
        age_ms = -1
        if subject == self._config.node:
            age_ms = 0
        elif subject in self._silences:
            age_ms = self._age_us(subject, now) // MS
        return [post(peer, ProbeAck(subject, age_ms))]

    def probe_answered(self, peer: NodeId, letter: ProbeAck, now: Instant) -> list[Effect]:
        subject = self._subjects.held(letter.subject)
        if subject is None or not 0 <= letter.age_ms < HEARD_MS or peer == letter.subject:
            return []
        subject.proof_us = max(subject.proof_us or 0, now.mono_us - letter.age_ms * MS)
        if subject.own is None or subject.own >= STRONG:
            return []
        subject.helper = peer
        subject.helped_us = max(subject.helped_us, now.mono_us - letter.age_ms * MS + HELPED_US)
        self._helps.set(subject.node, min(now.mono_us + HELP_AGAIN_US, subject.helped_us))
        self._telling.cancel(subject.node)
        return self._settle(subject, now)

    # -- time ---------------------------------------------------------------------------------------------------------

    def wake(self, now: Instant) -> list[Effect]:
        effects = [effect for subject in self._hearsay.read(now) for effect in self._settle(subject, now)]
        if self._poll_us is not None and self._poll_us <= now.mono_us:
            effects += self._poll(now)
        for peer, asked_us in self._doubts.due(now):
            effects += self._doubt_due(peer, asked_us, now)
        for subject in self._held(self._telling.due(now)):
            effects += self._telling.tell(subject, now) if not (subject.proven and self.many(now)) else []
        for subject in self._held(self._helps.pop_due(now.mono_us)):
            effects += self._help_due(subject, now)
        for node, text in self._flaps.words(now.mono_us):
            effects += self._announced(node, text)
        for node in self._flaps.hushed(now.mono_us):
            effects += self._hushed(node, now)
        ripe = self._held(self._docket.ripe(now))
        for subject in ripe:
            effects += self._ripened(subject, now)
        return effects + self._settle_all([*self._held(self._docket.news(now)), *ripe], now)

    def deadline(self) -> int | None:
        return earliest(
            self._poll_us, self._flaps.deadline(), self._hearsay.deadline(), self._doubts.deadline(),
            self._telling.deadline(), self._helps.deadline(), self._docket.deadline(),
        )  # fmt: skip

    def _poll(self, now: Instant) -> list[Effect]:
        self._lag(now.mono_us - (self._poll_us or now.mono_us), now)
        patience, next_us = self._health.patience(now.mono_us), now.mono_us + self._config.poll_us
        effects: list[Effect] = []
        for peer, silence in self._silences.items():
            subject = self._subjects.held(peer)
            age_us = self._age_us(peer, now)
            if subject is None:
                continue
            silence.link_pace(self.pace_us(peer))
            limit_us = silence.limit_us(patience, self._links.rtt_us(peer) or 0)
            if age_us > limit_us:
                if subject.own is None:
                    effects += [*self._accuse(subject, Evidence.SILENT, now), Redial(peer), *self._ask_others(peer)]
                continue
            heard = self._links.last_heard_us(peer)
            asks_us = silence.asks_at_us(limit_us, self._links.rtt_us(peer) or 0)
            next_us = min(next_us, now.mono_us + (limit_us if age_us >= asks_us else asks_us) - age_us + MS)
            if age_us >= asks_us and silence.asks(heard):
                effects.append(post(peer, Probe(peer)))
            silence.sample(heard)
            subject.proof_us = max(subject.proof_us or 0, heard or 0) or None
            if subject.own is not None and heard is not None and heard > subject.since_us:
                effects += [Recovered(peer), *self._acquit(subject, now)]
        self._poll_us = next_us if self._silences else None
        return effects

    def _lag(self, late_us: int, now: Instant) -> None:
        """Who misses timers of its own is patient; who was away blames nobody for what it did not hear meanwhile, tells
        nobody of what it lost before, and has not given the accused the time in which it could not hear them."""
        self._health.late(late_us, now.mono_us)
        if late_us < ABSENT_US:
            return
        self.disturbed(BLAME_SELF_US, now)
        for subject in [s for s in self._subjects.doubtful.values() if s.state is not MemberState.DOWN]:
            subject.slept(late_us, now.mono_us, self._calm_us)
            self._docket.ripen(subject.node, self._council.turns_us(subject, now))
            if subject.state is MemberState.SUSPECT:
                self._telling.put_off(subject.node, self._calm_us)

    def _doubt_due(self, peer: NodeId, asked_us: int, now: Instant) -> list[Effect]:
        """Whether nothing came since it was asked. How long the way takes may be known better by now, and says nothing
        of a link that rested after its answer."""
        subject = self._subjects.held(peer)
        quiet = peer in self._silences and self._age_us(peer, now) >= now.mono_us - asked_us
        if subject is None or not quiet or subject.own is not None:
            return []
        return [Redial(peer), *self._accuse(subject, Evidence.SILENT, now)]

    def _ripened(self, subject: Subject, now: Instant) -> list[Effect]:
        """The time to refute is over. A link that is still silent is closed, so that a fresh one can take its place."""
        if subject.own is None or now.mono_us < subject.since_us + self._council.suspicion_us():
            return []
        again = self._ask_others(subject.node) if subject.helper is None else []
        self._telling.later(subject, 0, now)
        return again + ([Hangup(subject.node, Bye.SILENT)] if subject.linked else [])

    def _help_due(self, subject: Subject, now: Instant) -> list[Effect]:
        """A word counts for a while: two that lost a node at once would vouch for it to each other for ever."""
        if subject.own is None or subject.helper is None:
            return []
        if now.mono_us < subject.helped_us:
            self._helps.set(subject.node, min(now.mono_us + HELP_AGAIN_US, subject.helped_us))
            return self._ask_others(subject.node, subject.helper)
        subject.helper = None
        self._telling.later(subject, 0, now)
        return [*self._ask_others(subject.node), *self._settle(subject, now)]

    # -- evidence -----------------------------------------------------------------------------------------------------

    def _age_us(self, peer: NodeId, now: Instant) -> int:
        return self._silences[peer].age_us(self._links.last_heard_us(peer), now.mono_us)

    def _accuse(self, subject: Subject, kind: Evidence, now: Instant) -> list[Effect]:
        if now.mono_us < self._calm_us and kind < STRONG:
            return self._settle(subject, now)
        if not subject.accuse(kind, now.mono_us):
            self._telling.later(subject, 0, now)
            return []
        grace = {Evidence.SILENT: SILENT_GRACE_US, Evidence.BROKEN: BROKEN_GRACE_US}.get(kind, 0)
        if kind <= Evidence.SILENT and self._council.cut_off():
            grace = BLAME_SELF_US
        self._telling.later(subject, grace, now)
        return self._settle(subject, now)

    def _acquit(self, subject: Subject, now: Instant) -> list[Effect]:
        reported = bool(subject.votes) or (subject.told or ())[:2] == (subject.boot, subject.incarnation)
        subject.acquit()
        subject.vouched, subject.hearsay, subject.proof_us = True, None, now.mono_us
        self._telling.cancel(subject.node)
        self._docket.cancel(subject.node)
        ask = [post(subject.node, Doubt(subject.boot, subject.incarnation))] if reported else []
        return [*ask, *self._settle(subject, now)]

    def _ask_others(self, peer: NodeId, first: NodeId | None = None) -> list[Effect]:
        """``first``: whose word is to be renewed."""
        fresh = [p for p in self._silences if p != peer and (held := self._subjects.held(p)) and held.fresh]
        chosen = self._rng.sample(fresh, min(HELPERS_MAX, len(fresh)))
        if first is not None and first in fresh and first not in chosen:
            chosen[0] = first
        return [post(helper, Probe(peer)) for helper in chosen]

    # -- verdicts -----------------------------------------------------------------------------------------------------

    def _settle(self, subject: Subject, now: Instant) -> list[Effect]:
        return self._settle_all((subject,), now)

    def _settle_all(self, changed: Sequence[Subject], now: Instant) -> list[Effect]:
        """Judge these, and whoever their change means something for: one node's evidence explains another's silence."""
        effects: list[Effect] = []
        for _ in range(ROUNDS_MAX):
            for subject in changed:
                effects += self._judge(subject, now)
            changed = self._council.stirred(changed, now) if changed else ()
        return effects

    def _judge(self, subject: Subject, now: Instant) -> list[Effect]:
        self._subjects.note(subject)
        state, reason, turns_us = self._council.judge(subject, now)
        self._docket.ripen(subject.node, turns_us)
        changed = state is not subject.state
        if changed and state is MemberState.READY and subject.state is not MemberState.SUSPECT:
            self._back_us = now.mono_us
        subject.state, subject.reason = state, reason
        subject.changed_us = now.mono_us if changed else subject.changed_us
        if self._subjects.settled(subject, now.mono_us):
            self._cancel(subject.node)
        return [self._changed(subject, now)] if changed else []

    def _changed(self, subject: Subject, now: Instant) -> MemberChanged:
        proven, apart = subject.refused, bool(cut_region(subject.reason))
        quiet = not self._flaps.tells(subject.node, subject.state, now.mono_us, proven=proven, apart=apart)
        return MemberChanged(subject.node, subject.name, subject.state, subject.reason, quiet)

    def _hushed(self, node: NodeId, now: Instant) -> list[Effect]:
        """What was not told while this node had just come back."""
        subject = self._subjects.view(node)
        return [self._changed(subject, now)] if subject and subject.state is not MemberState.READY else []

    def _announced(self, node: NodeId, text: str = "") -> list[Effect]:
        """What was held back: that it is ready, or what it is now."""
        subject = self._subjects.view(node)
        return [Note(f"node/{subject.name}", text or f"{subject.state.value}: {subject.reason}")] if subject else []

    def _held(self, nodes: Iterable[NodeId]) -> list[Subject]:
        return [held for node in nodes if (held := self._subjects.held(node)) is not None]

    def _cancel(self, node: NodeId) -> None:
        for timers in (self._docket, self._telling, self._doubts, self._helps):
            timers.cancel(node)
