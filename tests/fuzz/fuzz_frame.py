"""Fuzz target: bytes of a peer into the frame reader, cut into pieces in several ways.

Property beside "no exception but RemoteError": how the stream is cut never changes what is read.
"""

import sys
from pathlib import Path

from meshnode.model.errors import RemoteError
from meshnode.wire.frame import FrameReader, encode

CORPUS = Path(__file__).parent / "corpus" / "frame"


def one_input(data: bytes) -> None:
    whole = _read(data, len(data) or 1)
    assert _read(data, 1 + len(data) // 3) == whole
    if len(data) <= 256:
        assert _read(data, 1) == whole
    if whole[1]:
        raise RemoteError(whole[1])


def _read(data: bytes, step: int) -> tuple[list[bytes], str]:
    """The frames of the stream (encoded again, which must give the bytes they came from) and how it ended."""
    reader = FrameReader()
    frames: list[bytes] = []
    try:
        for at in range(0, len(data), step):
            frames.extend(encode(frame) for frame in reader.feed(data[at : at + step]))
    except RemoteError as error:
        return [], error.reason
    read = b"".join(frames)
    assert read == data[: len(read)]
    assert reader.pending_bytes == len(data) - len(read)
    return frames, ""


if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
    from tests.fuzz.driver import main

    sys.exit(main("frame", one_input, CORPUS))
