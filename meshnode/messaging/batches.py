"""Batch in, batch out: what a turn sends to one agent or one peer leaves together."""

from collections.abc import Sequence

from meshnode.kernel.effects import Effect
from meshnode.links.messages import Post
from meshnode.model.ids import AgentConn, NodeId
from meshnode.wire.bus import Spread, ToAgent
from meshnode.wire.frame import Frame


def gathered(effects: Sequence[Effect]) -> list[Effect]:
    """The same effects with the frames for one receiver in one effect, where its first stood; their order is kept."""
    if len(effects) < 2:
        return list(effects)
    frames: dict[NodeId | AgentConn, list[Frame]] = {}
    out: list[Effect] = []
    for effect in _spread(effects):
        if not isinstance(effect, Post | ToAgent):
            out.append(effect)
            continue
        receiver = _receiver(effect)
        if receiver not in frames:
            frames[receiver] = []
            out.append(effect)
        frames[receiver] += effect.frames
    return [_whole(effect, frames) if isinstance(effect, Post | ToAgent) else effect for effect in out]


def _receiver(effect: Post | ToAgent) -> NodeId | AgentConn:
    return effect.peer if isinstance(effect, Post) else effect.conn


def _whole(effect: Post | ToAgent, frames: dict[NodeId | AgentConn, list[Frame]]) -> Post | ToAgent:
    whole = tuple(frames[_receiver(effect)])
    return Post(effect.peer, whole) if isinstance(effect, Post) else ToAgent(effect.conn, whole)


def _spread(effects: Sequence[Effect]) -> list[Effect]:
    """Events in a row for the same listeners as one effect."""
    out: list[Effect] = []
    row: list[Frame] = []
    first: Spread | None = None
    for effect in effects:
        if isinstance(effect, Spread):
            if first is not None and effect.conns is first.conns and effect.doors is first.doors:
                row += effect.frames
                continue
            if first is not None:
                out.append(Spread(first.conns, first.doors, tuple(row)))
            first, row = effect, list(effect.frames)
        elif first is not None and not isinstance(effect, Post):
            out += [Spread(first.conns, first.doors, tuple(row)), effect]
            first = None
        else:
            out.append(effect)
    return out if first is None else [*out, Spread(first.conns, first.doors, tuple(row))]
