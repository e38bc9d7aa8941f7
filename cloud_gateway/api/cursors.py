"""Where a list goes on: opaque text that only this gateway (and its replicas, by their token) can make.

It is signed together with the question it belongs to: a changed one, or one of another question, is refused instead
of showing rows from a place that nobody was at.
"""

import base64
import binascii
import hashlib
import hmac

import msgspec

from cloud_gateway.api.problems import invalid
from cloud_gateway.model.queries import Bound

_MARK_BYTES = 12
_BOUNDS = msgspec.json.Decoder(tuple[Bound, ...])


class Cursors:
    """Seals places and opens them again. ``token``: the same for all replicas."""

    def __init__(self, token: str) -> None:
        self._key = hashlib.blake2b(token.encode(), person=b"meshnode-cursor").digest()

    def seal(self, question: str, place: tuple[Bound, ...] | None) -> str | None:
        """``place`` None: there is no more."""
        if place is None:
            return None
        body = msgspec.json.encode(place)
        return base64.urlsafe_b64encode(self._mark(question, body) + body).decode().rstrip("=")

    def open(self, question: str, cursor: str) -> tuple[Bound, ...] | None:
        """The place, None for the beginning. Raises ``Refused``."""
        if not cursor:
            return None
        try:
            sealed = base64.b64decode(cursor + "=" * (-len(cursor) % 4), altchars=b"-_", validate=True)
        except (binascii.Error, ValueError):
            raise _not_ours() from None
        mark, body = sealed[:_MARK_BYTES], sealed[_MARK_BYTES:]
        if not hmac.compare_digest(mark, self._mark(question, body)):
            raise _not_ours()
        return _BOUNDS.decode(body)

    def _mark(self, question: str, body: bytes) -> bytes:
        # The length of the question keeps it apart from the body: no two pairs read as the same bytes.
        signed = b"%d:%s%s" % (len(question), question.encode("utf-8", "surrogatepass"), body)
        return hmac.digest(self._key, signed, "sha256")[:_MARK_BYTES]


def _not_ours() -> Exception:
    return invalid("after", "is not the next of this list", "take next of the page before, or leave after out")
