"""The one shape every protocol in meshnode has.

A machine is told what happened and when, and answers with what should be done. It never awaits, reads a clock, logs or
draws global randomness, so asyncio in production and the simulator in tests drive the very same object.
"""

from collections.abc import Sequence
from typing import Protocol, TypeVar

from meshnode.kernel.effects import Effect
from meshnode.kernel.instant import Instant

InputT_contra = TypeVar("InputT_contra", contravariant=True)


class Machine(Protocol[InputT_contra]):
    """Input and time in, effects out, one pulled deadline."""

    def handle(self, event: InputT_contra, now: Instant) -> Sequence[Effect]: ...

    def wake(self, now: Instant) -> Sequence[Effect]:
        """Fire whatever is due. A spurious call does nothing."""
        ...

    def deadline(self) -> int | None:
        """When to call ``wake`` next, on the ``mono_us`` axis; ``None`` when nothing is pending."""
        ...


def earliest(*deadlines: int | None) -> int | None:
    """The first of several deadlines, where ``None`` means never."""
    first: int | None = None
    for at in deadlines:
        if at is not None and (first is None or at < first):
            first = at
    return first
