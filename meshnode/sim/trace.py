"""What a run did, as one hash: every input with its bytes, every effect in order, each with its time and node."""

import hashlib
from collections.abc import Callable, Sequence

import msgspec

from meshnode.kernel.effects import Effect
from meshnode.node.inputs import Input
from meshnode.sim.parcels import Parcel

_TEXT_CHARS = 110


class Trace:
    """Equal worlds give equal hashes in every process, whatever the seed of Python's own hashes is."""

    def __init__(self, show: Callable[[str], None] | None = None, *, hashed: bool = True) -> None:
        """Without a hash it only counts: for many runs of which only the odd one is ever looked at."""
        self._digest = hashlib.blake2b(digest_size=16)
        self._encode = msgspec.msgpack.Encoder(enc_hook=_parts_of).encode
        self._show = show
        self._quiet = not hashed and show is None
        self.inputs = self.wakes = 0
        self.effects = 0

    def told(self, at_us: int, node: str, event: Input) -> None:
        self.inputs += 1
        if not self._quiet:
            self._note(at_us, node, "<", event)

    def woke(self, at_us: int, node: str) -> None:
        self.wakes += 1
        if not self._quiet:
            self._note(at_us, node, "<", None)

    def wanted(self, at_us: int, node: str, effects: Sequence[Effect]) -> None:
        """All of one turn, before they are performed."""
        self.effects += len(effects)
        if not self._quiet:
            for effect in effects:
                self._note(at_us, node, ">", effect)

    def happened(self, at_us: int, node: str, what: str) -> None:
        """The world's own doing: a fault, a start, a verdict."""
        if not self._quiet:
            self._note(at_us, node, "!", what)

    def digest(self) -> str:
        return self._digest.hexdigest()

    def _note(self, at_us: int, node: str, mark: str, what: object) -> None:
        kind = type(what).__name__
        self._digest.update(self._encode((at_us, node, mark, kind, what)))
        if self._show is not None:
            text = what if isinstance(what, str) else "wake" if what is None else repr(what)
            self._show(f"{at_us / 1e6:13.6f} {node:<8} {mark} {text[:_TEXT_CHARS]}")


def _parts_of(parcel: object) -> object:
    """What tier 2 hands over is hashed frame by frame."""
    assert isinstance(parcel, Parcel), f"a trace knows no {type(parcel).__name__}"
    return parcel.frames
