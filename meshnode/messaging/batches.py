"""Batch in, batch out: what a turn sends to one agent or one peer leaves together."""

from collections.abc import Sequence

from meshnode.kernel.effects import Effect
from meshnode.links.messages import Post
from meshnode.model.ids import AgentConn, NodeId
from meshnode.wire.bus import Spread, ToAgent
from meshnode.wire.events import packed
from meshnode.wire.frame import Frame, Kind


def gathered(effects: Sequence[Effect]) -> list[Effect]:
    """The same effects with the frames for one receiver in one effect, where its first stood; their order is kept."""
    if len(effects) < 2:
        return list(effects)
    frames: dict[NodeId | AgentConn, list[Frame]] = {}
    spreads: dict[tuple[int, int], list[Frame]] = {}  # by who listens: a plan is one object for all its events
    out: list[Effect] = []
    for effect in effects:
        if isinstance(effect, Spread):
            _add(effect, spreads, out)
            continue
        if isinstance(effect, Post):
            receiver = effect.peer
        elif isinstance(effect, ToAgent):
            receiver = effect.conn
        else:
            out.append(effect)
            continue
        known = frames.get(receiver)
        if known is None:
            frames[receiver] = list(effect.frames)
            out.append(effect)
        else:
            known += effect.frames
    whole = [_whole(effect, frames) if isinstance(effect, Post | ToAgent) else effect for effect in out]
    return (
        [_packed(effect, spreads) if isinstance(effect, Spread) else effect for effect in whole] if spreads else whole
    )


class Batch:
    """The effects of one turn as they come: those of calls that go by the express lane frame by frame, others whole.

    What comes out is what ``gathered`` makes of them one by one.
    """

    def __init__(self) -> None:
        self._whole: list[Effect] = []
        self._order: list[NodeId | AgentConn | Effect] = []
        self._frames: dict[NodeId | AgentConn, list[Frame]] = {}

    def frame(self, receiver: NodeId | AgentConn, frame: Frame) -> None:
        frames = self._frames.get(receiver)
        if frames is None:
            self._frames[receiver] = [frame]
            self._order.append(receiver)
        else:
            frames.append(frame)

    def frames(self, receiver: NodeId | AgentConn, frames: list[Frame]) -> None:
        """As many as there are; the list is taken over."""
        if not frames:
            return
        if receiver in self._frames:
            self._frames[receiver] += frames
        else:
            self._frames[receiver] = frames
            self._order.append(receiver)

    def tell(self, effect: Effect) -> None:
        self._order.append(effect)

    def add(self, effects: Sequence[Effect]) -> None:
        """Those of the slow path."""
        if effects:
            self._whole += self._run()
            self._whole += effects

    def effects(self) -> list[Effect]:
        if not self._whole:
            return self._run()
        return gathered([*self._whole, *self._run()])

    def _run(self) -> list[Effect]:
        """What came frame by frame since the last call."""
        order, frames = self._order, self._frames
        self._order, self._frames = [], {}
        return [each if isinstance(each, Effect) else to(each, tuple(frames[each])) for each in order]


def to(receiver: NodeId | AgentConn, frames: tuple[Frame, ...]) -> Post | ToAgent:
    return ToAgent(receiver, frames) if isinstance(receiver, int) else Post(receiver, frames)


def _receiver(effect: Post | ToAgent) -> NodeId | AgentConn:
    return effect.peer if isinstance(effect, Post) else effect.conn


def _whole(effect: Post | ToAgent, frames: dict[NodeId | AgentConn, list[Frame]]) -> Post | ToAgent:
    whole = tuple(frames[_receiver(effect)])
    if isinstance(effect, ToAgent):
        return ToAgent(effect.conn, whole)
    return Post(effect.peer, packed(whole) if whole[0].kind is Kind.EVENT else whole)


def _add(effect: Spread, spreads: dict[tuple[int, int], list[Frame]], out: list[Effect]) -> None:
    key = id(effect.conns), id(effect.doors)
    if key not in spreads:
        spreads[key] = []
        out.append(effect)
    spreads[key] += effect.frames


def _packed(effect: Spread, spreads: dict[tuple[int, int], list[Frame]]) -> Spread:
    return Spread(effect.conns, effect.doors, packed(spreads[id(effect.conns), id(effect.doors)]))
