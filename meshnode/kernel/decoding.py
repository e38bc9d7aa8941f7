"""The one door from bytes to values: whatever a decoder raises on junk becomes one named refusal.

msgspec raises errors of its own, ``UnicodeDecodeError`` for text that is no UTF-8 (all of them a ``ValueError``),
``RecursionError`` for what is nested too deep and ``OverflowError`` for a number that fits nowhere. Whoever names only
some of them lets a peer end the node, so nobody else names them.
"""

from collections.abc import Callable
from typing import Final, TypeVar

from meshnode.model.errors import RemoteError

JUNK: Final = (ValueError, RecursionError, OverflowError)
DETAIL_CHARS_MAX = 200  # a decoder's error may repeat what the peer sent

ValueT = TypeVar("ValueT")
InsteadT = TypeVar("InsteadT")


def decoded(decode: Callable[[bytes], ValueT], data: bytes, reason: str) -> ValueT:
    """What ``decode`` makes of ``data``. Raises ``RemoteError(reason)`` for what is none."""
    try:
        return decode(data)
    except JUNK as error:
        raise refusal(reason, error) from error


def decoded_or(decode: Callable[[bytes], ValueT], data: bytes, instead: InsteadT) -> ValueT | InsteadT:
    """What ``decode`` makes of ``data``, or ``instead`` where junk says nothing and harms nobody."""
    try:
        return decode(data)
    except JUNK:
        return instead


def refusal(reason: str, error: Exception) -> RemoteError:
    """For the few who catch ``JUNK`` themselves, since they read more than one thing, or name it as they go."""
    return RemoteError(reason, str(error)[:DETAIL_CHARS_MAX])
