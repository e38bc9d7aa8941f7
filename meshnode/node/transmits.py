"""One write a link and turn: one system call, one TLS record."""

from collections.abc import Callable, Sequence

from meshnode.kernel.effects import Effect
from meshnode.links.messages import Transmit
from meshnode.model.ids import LinkId


def coalesced(effects: list[Effect], join: Callable[[Sequence[bytes]], bytes] = b"".join) -> list[Effect]:
    """All bytes for a link in one Transmit, where its first stood. The order of a link's bytes is kept."""
    if len(effects) < 2:
        return effects
    links = [effect.link for effect in effects if type(effect) is Transmit]
    if len(links) < 2 or len(links) == len(dict.fromkeys(links)):
        return effects
    pieces: dict[LinkId, list[bytes]] = {}
    out: list[Effect] = []
    for effect in effects:
        if not isinstance(effect, Transmit):
            out.append(effect)
        elif effect.link in pieces:
            pieces[effect.link].append(effect.data)
        else:
            pieces[effect.link] = [effect.data]
            out.append(effect)
    return [_whole(effect, pieces[effect.link], join) if isinstance(effect, Transmit) else effect for effect in out]


def _whole(first: Transmit, pieces: list[bytes], join: Callable[[Sequence[bytes]], bytes]) -> Transmit:
    return first if len(pieces) == 1 else Transmit(first.link, join(pieces))
