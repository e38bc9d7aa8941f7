"""Fuzz target: the first bytes of a connection into the peek for a ClientHello or the preface of a pipe.

Properties beside "never an exception": a verdict stands whatever follows, every beginning of a hello that was read asks
for more, and a hello split over more records says the same.
"""

import sys
from pathlib import Path

from meshnode.model.errors import RemoteError
from meshnode.security.clienthello import PEEK_BYTES_MAX, Alpn, NeedMore, NotTls, alpn_of

CORPUS = Path(__file__).parent / "corpus" / "clienthello"


def one_input(data: bytes) -> None:
    verdict = alpn_of(data)
    match verdict:
        case Alpn(protocols):
            assert all(name and name.isascii() for name in protocols)
            assert alpn_of(data + b"\x00\xff") == verdict
            assert _resplit(data) == verdict
        case NotTls(reason):
            assert alpn_of(data + b"\x16\x03\x01") == verdict
            raise RemoteError(reason)
        case NeedMore():
            assert len(data) < PEEK_BYTES_MAX
            assert not isinstance(alpn_of(data[: len(data) // 2]), Alpn)


def _resplit(data: bytes) -> object:
    """The verdict on the same hello with its first record cut in two, where it is one record of two bytes or more."""
    length = int.from_bytes(data[3:5])
    if length < 2 or len(data) < 5 + length or length + 10 > PEEK_BYTES_MAX - 4:
        return alpn_of(data)
    record, half = data[5 : 5 + length], length // 2
    pieces = (record[:half], record[half:])
    split = b"".join(data[:3] + len(piece).to_bytes(2) + piece for piece in pieces)
    rest = data[5 + length :]
    return alpn_of(split + rest) if len(split) + len(rest) <= PEEK_BYTES_MAX else alpn_of(data)


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.fuzz.driver import main

    sys.exit(main("clienthello", one_input, CORPUS))
