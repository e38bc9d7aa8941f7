"""Questions of gateways and operators: journals and links, of this node and, through it, of others."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import msgspec

from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import MS, SECOND, Instant
from meshnode.kernel.ports import Action
from meshnode.model import commands
from meshnode.model.errors import Denied, Invalid, Offline
from meshnode.model.ids import NodeId
from meshnode.model.view_parts import LinkView
from meshnode.model.views import Failure, JournalView, LinksView
from meshnode.node import asking, snapshot
from meshnode.node.effects import Reply
from meshnode.node.gathering import ASK_WAIT_MS, Around
from meshnode.node.readers import check_cursor, check_reading
from meshnode.security.roles import JOURNAL

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.messaging.messages import CallEnded
    from meshnode.model.commands import JournalCursor
    from meshnode.node.core import Core

LINKS_SHOWN_MAX = 300
LINKS_MAX = 384  # no journal is worth the links that the mesh needs of this node
REACHING_MAX = 32  # links made for journals at once
REACH_US = 3 * SECOND
AskNode = Callable[[int, asking.Askable, NodeId, Instant], "Sequence[Effect]"]
Asked = commands.ReadJournal | commands.GatherJournals | commands.ListLinks


class JournalDesk:
    """``ask`` ends in one ``Reply``, or in a call to another node, whose end the desk turns into one."""

    def __init__(self, core: Core, ask_node: AskNode) -> None:
        self._core, self._ask_node = core, ask_node

    def ask(self, command_no: int, command: Asked, now: Instant) -> Sequence[Effect]:
        match command:
            case commands.GatherJournals():
                return self._core.journals.gather(command_no, command, now)
            case commands.ReadJournal() | commands.ListLinks():
                node = self._elsewhere(command)
                if node is not None:
                    return self._ask_on(command_no, command, node, now)
                return self._answer(command_no, command, "", now)

    def ask_for_peer(
        self, command_no: int, command: commands.ReadJournal | commands.ListLinks, peer: NodeId, now: Instant
    ) -> Sequence[Effect]:
        """``peer`` asks for itself, or for a reader at its door. Who may read a journal is judged where it is kept."""
        core = self._core
        if self._elsewhere(command) is not None:
            raise Invalid(f"{core.config.name} answers for itself only", next_step=f"ask {command.node}")
        if isinstance(command, commands.ReadJournal) and peer != core.config.node:
            verdict = core.authority.may(peer, Action.READ, JOURNAL)
            if not verdict.allowed:
                core.counters.add("journal-denied")
                raise Denied(
                    f"{core.config.name} does not show its journal to {core.names.of(peer)}, which has not the role "
                    f"gateway or admin ({verdict.reason})",
                    next_step="meshnode invite --role gateway makes a token for a node that may",
                )
        return self._answer(command_no, command, core.names.of(peer), now)

    def _answer(
        self, command_no: int, command: commands.ReadJournal | commands.ListLinks, through: str, now: Instant
    ) -> Sequence[Effect]:
        if isinstance(command, commands.ReadJournal):
            return self._core.journals.read(command_no, command, through, now)
        return [Reply(command_no, links(self._core, now))]

    def _elsewhere(self, command: commands.ReadJournal | commands.ListLinks) -> NodeId | None:
        node = snapshot.find_node(self._core, command.node) if command.node else self._core.config.node
        return None if node == self._core.config.node else node

    def _ask_on(
        self, command_no: int, command: commands.ReadJournal | commands.ListLinks, node: NodeId, now: Instant
    ) -> Sequence[Effect]:
        if isinstance(command, commands.ReadJournal):
            check_reading(command.reader, command.limit, command.wait_ms)
            check_cursor(command.cursor)
            command = msgspec.structs.replace(command, wait_ms=min(command.wait_ms, ASK_WAIT_MS))
        if not self._core.gossip.reachable(node):
            what = "its journal" if isinstance(command, commands.ReadJournal) else "what it is linked to"
            raise Offline(
                f"{command.node} cannot be reached now, and only there is {what}",
                next_step=f"meshnode why {command.node} tells since when",
            )
        return self._ask_node(command_no, msgspec.structs.replace(command, node=""), node, now)


class Turns:
    """Who may be asked at this moment: linked nodes always, others a few at a time. A thousand links made at once would
    push the neighbours out."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._reaching: dict[NodeId, int] = {}  # until when a link is waited for

    def linked(self, node: NodeId) -> bool:
        return self._core.hub.last_heard_us(node) is not None

    def in_turn(self, node: NodeId, now: Instant) -> bool:
        if self.linked(node):
            return True
        self._reaching = {
            other: until_us
            for other, until_us in self._reaching.items()
            if until_us > now.mono_us and not self.linked(other)
        }
        if len(self._reaching) >= REACHING_MAX and node not in self._reaching:
            return False
        self._reaching[node] = now.mono_us + REACH_US
        return True


def around(core: Core) -> Around:
    """What the room of the journals asks of this node."""

    turns = Turns(core)

    def find(name: str) -> NodeId | None:
        member = core.trust.by_name(name)
        return member.node if member is not None else None

    def why_not(node: NodeId) -> str:
        if core.gossip.reachable(node):
            full = len(core.hub.peers()) >= LINKS_MAX and not turns.linked(node)
            return f"{core.config.name} has {LINKS_MAX} links, and no more for journals" if full else ""
        return f"{core.gossip.state(node).value}: {core.gossip.reason(node)}"

    def own(cursor: JournalCursor, limit: int) -> JournalView:
        return journal(core, cursor, limit)

    def ask(ticket: int, question: commands.ReadJournal, node: NodeId, now: Instant) -> Sequence[Effect]:
        # A link made for calls alone idles out; while its journal is read it is in use.
        kept = core.gossip.reach(node, now) if turns.linked(node) else []
        return [*kept, *asking.ask(core, ticket, question, node, now)]

    return Around(
        me=core.config.node, find=find, name_of=core.names.of, why_not=why_not, in_turn=turns.in_turn, own=own,
        own_news=core.story.has_news, ask=ask, drop=core.switch.dropped, read=_read,
    )  # fmt: skip


def _read(question: commands.ReadJournal, ended: CallEnded) -> JournalView | Failure:
    view = asking.answer_of(question, ended)
    assert isinstance(view, JournalView | Failure)
    return view


def journal(core: Core, cursor: JournalCursor, limit: int) -> JournalView:
    """This node's own, behind a cursor."""
    page = core.story.page(cursor, limit)
    return JournalView(
        node=core.config.name, node_id=core.config.node.hex(), boot=page.boot, run=page.run, items=page.items,
        first=core.story.first, last=core.story.shown, anew=page.anew, more=page.more,
    )  # fmt: skip


def links(core: Core, now: Instant) -> LinksView:
    """This node's own, neighbours first."""
    items = [_link(core, peer, now) for peer in core.hub.peers()]
    items.sort(key=lambda link: (link.kind != "neighbour", link.peer))
    return LinksView(node=core.config.name, items=items[:LINKS_SHOWN_MAX])


def _link(core: Core, peer: NodeId, now: Instant) -> LinkView:
    heard, rtt = core.hub.last_heard_us(peer), core.hub.rtt_us(peer)
    return LinkView(
        peer=core.names.of(peer), region=core.region_of(peer),
        kind="neighbour" if core.gossip.is_neighbour(peer) else "peer",
        rtt_ms=None if rtt is None else round(rtt / MS, 3),
        age_s=-1.0 if heard is None else round(max(0, now.mono_us - heard) / SECOND, 3),
    )  # fmt: skip
