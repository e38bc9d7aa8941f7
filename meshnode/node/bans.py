"""Nodes that an admin has banned: nobody keeps a link to them or dials them, and they are told why.

A banned node is given the policy that says so before it is turned away, so that it need not believe a neighbour. It
then rests: one dial in ten minutes, in case the ban is over and nobody can reach it. When an admin lifts the ban, the
others dial it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.gossip.messages import Discovered
from meshnode.kernel.effects import Hangup, Note, Reject
from meshnode.kernel.instant import SECOND, Instant
from meshnode.kernel.reasons import Bye
from meshnode.links.tunnelwire import relay_at
from meshnode.model.manifest import NAMESPACE_DEFAULT
from meshnode.model.policy import KIND

if TYPE_CHECKING:
    from collections.abc import Sequence

    from meshnode.crdt.messages import DocumentChanged
    from meshnode.kernel.effects import Effect
    from meshnode.model.ids import NodeId
    from meshnode.node.core import Core

REST_US = 600 * SECOND
LIFT = "an admin lifts it: meshnode apply of its Policy without banned"


class Bans:
    """``core.authority`` knows who is banned; this is what follows."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._known = {name: None for name in core.authority.limits() if core.authority.is_banned(name)}
        self._dial_us = 0  # when this node, banned itself, may dial again

    def changed(self, fact: DocumentChanged, now: Instant) -> Sequence[Effect]:
        """A policy reads otherwise."""
        core, name = self._core, fact.name
        banned = core.authority.is_banned(name)
        if fact.kind != KIND or banned == (name in self._known):
            return ()
        by = core.names.of(fact.by)
        if not banned:
            del self._known[name]
            return [Note(f"node/{name}", f"not banned any more, says {by}"), *self._sought(name, now)]
        self._known[name] = None
        told: list[Effect] = [Note(f"node/{name}", f"banned by {by}: nobody keeps a link to it; {LIFT}")]
        if name == core.config.name:
            self._dial_us = now.mono_us + REST_US
            return told
        member = core.trust.by_name(name)
        return [*told, *(self.turned_away(member.node) if member and member.node in core.linked else ())]

    def refuses(self, peer: NodeId) -> bool:
        return bool(self._known) and self._core.names.of(peer) in self._known

    def turned_away(self, peer: NodeId) -> list[Effect]:
        """It is told, and shown the policy."""
        shown = self._core.documents.give(peer, KIND, NAMESPACE_DEFAULT, self._core.names.of(peer))
        return [*shown, Reject(peer, "banned"), Hangup(peer, Bye.BANNED)]

    def bars(self, node: NodeId, now: Instant) -> bool:
        """Whether this dial is not to be made. ``node``: unknown where only an address is."""
        if not self._known:
            return False
        if self._core.config.name not in self._known:
            return self.refuses(node)
        if now.mono_us < self._dial_us:
            return True
        self._dial_us = now.mono_us + REST_US
        return False

    def words(self, name: str) -> str:
        """For people, of a node; "" if it is not banned."""
        return f"banned: nobody keeps a link to it; {LIFT}" if name in self._known else ""

    def _sought(self, name: str, now: Instant) -> list[Effect]:
        member = self._core.trust.by_name(name)
        row = self._core.gossip.row(member.node) if member is not None else None
        places = [place for place in row.endpoints if relay_at(place[0]) is None] if row is not None else []
        return [each for place in places for each in self._core.gossip.handle(Discovered(*place), now)]
