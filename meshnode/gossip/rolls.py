"""What a directory row does once it arrives: who learns of it, who passes it on, and what our own row answers.

Also the door for rumours, since a rumour is either a row or an alert against one. Rows in bulk wait in ``intake.py``.
"""

from collections.abc import Callable, Iterable, Sequence

from meshnode.gossip import alerts
from meshnode.gossip.alerts import Alert, Raise
from meshnode.gossip.catalogue import decode_row
from meshnode.gossip.detector import Detector
from meshnode.gossip.directory import Entry, Merge, Status
from meshnode.gossip.intake import FEW, Waiting
from meshnode.gossip.letters import (
    AlertRumour,
    AlertsRumour,
    RegionRumour,
    RowRumour,
    Rows,
    Rumour,
    SignedRow,
    decode_rumour,
    encode,
    post,
)
from meshnode.gossip.manners import blame
from meshnode.gossip.messages import Described, Twinned
from meshnode.gossip.parts import Parts
from meshnode.gossip.row import read
from meshnode.gossip.subject import Subject
from meshnode.kernel.effects import Effect, GiveBack
from meshnode.kernel.instant import Instant
from meshnode.kernel.machine import earliest
from meshnode.kernel.records import Record
from meshnode.model.errors import RemoteError
from meshnode.model.ids import NodeId


class Rolls:
    """Keeps directory, detector and soft state in step, and spreads what is news."""

    def __init__(self, parts: Parts) -> None:
        self._parts = parts
        self._alerts = alerts.Outgoing()

    # -- rows ---------------------------------------------------------------------------------------------------------

    def restored(self, records: Sequence[Record], now: Instant) -> list[Effect]:
        """What an earlier boot had written down: known, and not heard yet."""
        return self._recall(self._parts.intake.restore(records, now), now)

    def _recall(self, records: Iterable[Record], now: Instant) -> list[Effect]:
        effects: list[Effect] = []
        for record in records:
            entry = self._parts.directory.recall(record)
            if entry is not None:
                effects += [Described(entry.node), *self._learn(entry, None, now, alive_now=False)]
        return effects

    def rows(self, peer: NodeId, rows: Sequence[SignedRow], now: Instant) -> list[Effect]:
        """Rows in a letter: a few are checked at once, more of them in slices."""
        take = self.row if len(rows) <= FEW else self._wait
        return self._each(((peer, signed) for signed in rows), take, now)

    def wake(self, now: Instant) -> list[Effect]:
        """Check the next of those that wait; when a bulk is through, compare with the neighbours who did not send it,
        and with whoever wanted to meanwhile.

        To announce each of thousands of rows would make every neighbour ask for all of them, known to it or not.
        """
        intake, repairs = self._parts.intake, self._parts.repairs
        effects = [*self._tell(now), *self._introduce(now), *self.publish(self._parts.me.wake(now), now)]
        effects += self._each(intake.due(now), self.row, now)
        effects += self._recall(intake.recalled(now), now)
        senders, comparing = intake.over(), intake.comparing()
        if senders is not None:
            effects.append(GiveBack())
        for peer in self._parts.overlay.peers() if comparing or senders is not None else ():
            if peer in comparing or (senders is not None and peer not in senders):
                effects += repairs.open(peer)
        return effects

    def deadline(self) -> int | None:
        return earliest(
            self._parts.intake.deadline(),
            self._alerts.deadline(),
            self._parts.newcomers.deadline(),
            self._parts.me.deadline(),
        )

    def _wait(self, peer: NodeId, signed: SignedRow, now: Instant) -> list[Effect]:
        self._parts.intake.add(peer, signed, now)
        return []

    def _fetch(self, nodes: Iterable[NodeId], now: Instant) -> list[Effect]:
        """Somebody speaks of nodes whose rows may wait."""
        intake, spoken = self._parts.intake, list(nodes)
        effects = self._recall(intake.recalled_about(spoken), now)
        return effects + self._each([waiting for node in spoken for waiting in intake.about(node)], self.row, now)

    def _fetch_of(self, signed: SignedRow, now: Instant) -> list[Effect]:
        """A row that our journal has as well is no news. Raises ``RemoteError``: it is none."""
        intake = self._parts.intake
        return self._recall(intake.recalled_about([read(signed.body).node]), now) if intake.recalling else []

    def _each(
        self, rows: Iterable[Waiting], take: Callable[[NodeId, SignedRow, Instant], list[Effect]], now: Instant
    ) -> list[Effect]:
        """One bad row must not hide the good ones behind it."""
        effects: list[Effect] = []
        for peer, signed in rows:
            try:
                effects += take(peer, signed, now)
            except RemoteError as error:
                effects.append(blame(peer, error))
        return effects

    def row(self, peer: NodeId, signed: SignedRow, now: Instant) -> list[Effect]:
        """A row in a letter."""
        effects = self._fetch_of(signed, now)
        try:
            return effects + self._row_of_letter(peer, signed, now)
        except RemoteError as error:
            return [*effects, blame(peer, error)]

    def _row_of_letter(self, peer: NodeId, signed: SignedRow, now: Instant) -> list[Effect]:
        """A peer's word about itself is as good as a rumour; others may be old."""
        merge = self._parts.directory.offer(signed)
        if merge is None or merge.row.node == self._parts.config.node:
            return self._twin(merge)
        if not self._is_news(merge, now):
            return self._shown(merge, peer)
        self._parts.directory.hold(merge)
        rumour = encode(RowRumour(signed))
        own_word = merge.row.node == peer
        effects = [*self._shown(merge, peer), *self._news(merge, peer, now, alive_now=own_word)]
        if own_word and merge.before is None:
            self._parts.broadcast.note(rumour, now)
            self._parts.newcomers.add(rumour, peer, now)
            return effects
        if own_word:
            return [*effects, *self._parts.broadcast.spread(rumour, now, source=peer)]
        if self._parts.intake.small:
            self._parts.broadcast.announce(rumour, now, source=peer)
        return effects

    def _introduce(self, now: Instant) -> list[Effect]:
        """Newcomers to all others, then all others to newcomers, and a comparison when both know the same."""
        arrived, alone = self._parts.newcomers.due(now)
        repairs, told, effects = self._parts.repairs, dict.fromkeys(node for _, node in arrived), list[Effect]()
        for rumour, node in arrived:
            effects += self._parts.broadcast.spread(rumour, now, source=node)
        for peer in alone:
            if self._parts.overlay.linked(peer):
                effects += [*repairs.give(peer, told, now), *repairs.open(peer)]
        return effects

    def begin(self, now: Instant) -> list[Effect]:
        """Our first row of this boot, unless the ground holds it already."""
        me, held = self._parts.me, self._parts.directory.entry(self._parts.config.node)
        if held is not None and held.boot == self._parts.config.boot and not held.left:
            me.adopt(held.row, held.body)
            return []
        return self.publish(me.first(now), now)

    def publish(self, signed: SignedRow | None, now: Instant) -> list[Effect]:
        """Our own new row, if there is one."""
        if signed is None:
            return []
        return self._parts.broadcast.spread(self.hold_own(signed), now)

    def hold_own(self, signed: SignedRow) -> bytes:
        """Keep our own row; no journal needs it, since the next boot signs another. Returns the rumour of it."""
        merge = self._parts.directory.offer(signed)
        assert merge is not None, "every row we sign is another one"
        assert merge.news, "our own row is always the newest"
        self._parts.directory.hold(merge, save=False)
        return encode(RowRumour(signed))

    # -- rumours ------------------------------------------------------------------------------------------------------

    def rumour(self, peer: NodeId, rumour: bytes, now: Instant) -> list[Effect]:
        """A rumour in full. Only what is valid and news is passed on."""
        broadcast = self._parts.broadcast
        duplicate = broadcast.duplicate(peer, rumour, now)
        if duplicate is not None:
            return duplicate
        told = decode_rumour(rumour)
        fetched = self._fetched_for(told, now)
        try:
            effects = self._told(peer, told, now)
        except RemoteError as error:  # what was learnt of its nodes on the way is true all the same
            return [*fetched, blame(peer, error)]
        if effects is None:
            broadcast.note(rumour, now)
            return fetched
        return [*fetched, *effects, *broadcast.spread(rumour, now, source=peer)]

    def _fetched_for(self, told: Rumour, now: Instant) -> list[Effect]:
        match told:
            case RowRumour(signed):
                return self._fetch_of(signed, now)
            case AlertRumour() | AlertsRumour():
                return self._fetch(dict.fromkeys(n for a in alerts.read(told) for n in (a.subject, a.observer)), now)
            case RegionRumour(body):
                return self._fetch([decode_row(body).author], now)

    def _told(self, peer: NodeId, told: Rumour, now: Instant) -> list[Effect] | None:
        """``None``: no news, not to be passed on."""
        match told:
            case RowRumour(signed):
                return self._row_rumour(peer, signed, now)
            case AlertRumour() | AlertsRumour():
                return self._alert_rumour(told, now)
            case RegionRumour(body):
                effects = self._parts.catalogue.rumour(told, now)
                if effects is not None:  # held already: what is too much is only not passed on
                    row = decode_row(body)
                    self._parts.manners.region(row.author, row.name, now)
                return effects

    def raise_alert(self, wanted: Raise, now: Instant) -> list[Effect]:
        """Sign and spread what the detector found; what comes soon after waits for more."""
        self._alerts.add(wanted, now, many=self._parts.detector.many(now))
        return self._tell(now)

    def _tell(self, now: Instant) -> list[Effect]:
        detector = self._parts.detector
        wanted = self._alerts.due(now)
        many = bool(wanted) and detector.many(now)
        if many:
            lost = [(each, detector.subject(each.subject)) for each in wanted]
            wanted = [each for each, subject in lost if subject is None or not subject.proven]
        rumours = alerts.signed(wanted, self._parts.ports.signer, many=many)
        return [effect for each in rumours for effect in self._parts.broadcast.spread(encode(each), now)]

    def _row_rumour(self, peer: NodeId, signed: SignedRow, now: Instant) -> list[Effect] | None:
        merge = self._parts.directory.offer(signed)
        if merge is None or merge.row.node == self._parts.config.node:
            return self._twin(merge) or None
        if not self._is_news(merge, now):
            return self._shown(merge, peer) or None
        self._parts.directory.hold(merge)
        return [*self._shown(merge, peer), *self._news(merge, peer, now, alive_now=True)]

    def _alert_rumour(self, rumour: AlertRumour | AlertsRumour, now: Instant) -> list[Effect] | None:
        told = alerts.check(rumour, self._parts.ports.trust, self._parts.ports.verifier)
        self._parts.manners.alerts(told[0].observer, [alert.subject for alert in told], now)
        done = [effects for alert in told if (effects := self._alert(alert, now)) is not None]
        return [effect for effects in done for effect in effects] if done else None

    def _alert(self, alert: Alert, now: Instant) -> list[Effect] | None:
        if alert.subject == self._parts.config.node:
            return self.publish(self._parts.me.refute(alert.boot, alert.incarnation, now), now)
        entry = self._parts.directory.entry(alert.subject)
        if entry is None or (alert.boot, alert.incarnation) < entry.order[:2]:
            self._parts.counters.add("alert-void")  # about nobody, or refuted already; may be a replay
            return None
        return self._parts.detector.voted(alert, now)

    def _is_news(self, merge: Merge, now: Instant) -> bool:
        """An older row than the one held is late, or a replay; a newer one counts against its node's share."""
        if not merge.news:
            self._parts.counters.add("row-old")
        elif merge.before is not None:
            self._parts.manners.row(NodeId(merge.row.node), now)
        return merge.news

    def _shown(self, merge: Merge, peer: NodeId) -> list[Effect]:
        """A node that says something else under the number of the row held is shown that one: it has lost its journal,
        or is a copy, and comparing numbers would never tell it."""
        before = merge.before
        if peer != merge.row.node or before is None or before.order != merge.entry.order:
            return []
        return [post(peer, Rows([before.signed]))]

    # -- what news means ----------------------------------------------------------------------------------------------

    def _news(self, merge: Merge, peer: NodeId, now: Instant, *, alive_now: bool) -> list[Effect]:
        row, before, parts = merge.row, merge.before, self._parts
        other_facts = merge.facts_only and alive_now and not parts.planning.seeks(row.node)
        if other_facts and parts.detector.retold(row.node, row.incarnation, now):
            parts.contacts.spoke(row.node)
            return [Described(row.node, facts_only=True)]
        if before is not None and row.boot > before.boot:
            parts.contacts.restarted(row.node, now)
        gone = row.status is Status.LEFT
        effects = [Described(row.node), *parts.soft.drop(row.node, row.boot + gone)]
        known = before if merge.known else None
        learnt = self._learn(merge.entry, peer, now, alive_now=alive_now, before=known, facts_only=merge.facts_only)
        return [*effects, *learnt]

    def _learn(
        self, entry: Entry, source: NodeId | None, now: Instant, *, alive_now: bool, before: Entry | None = None,
        facts_only: bool = False,
    ) -> list[Effect]:  # fmt: skip
        detector: Detector = self._parts.detector
        member, left = entry.member, entry.left
        subject = Subject(member.node, member.name, member.region, entry.boot, entry.incarnation, left)
        effects = detector.learn(subject, source, now, alive_now=alive_now and not left, before=before)
        if alive_now and not left:
            self._parts.contacts.spoke(member.node)
        self._parts.planning.learnt(member.node, now, facts_only=facts_only)
        return effects

    def _twin(self, merge: Merge | None) -> list[Effect]:
        if merge is None:
            return []
        reason = self._parts.me.twin(merge.row, merge.entry.body)
        return [Twinned(reason)] if reason else []
