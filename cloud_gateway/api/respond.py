"""Bytes of an answer: JSON, packed where the reader takes that, with a tag where it may have them already."""

import gzip
import hashlib
import re

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloud_gateway.api.answers import OverviewAnswer

# Below a packet or so, packing costs more than it saves.
PACKED_BYTES_MIN = 1_000
# Level 1 takes a quarter of the time of level 6 and is a tenth larger: answers are made once and read once.
_LEVEL = 1
_GZIP = re.compile(r"(?:^|,)\s*(?:gzip|\*)\s*(?:;\s*q\s*=\s*([0-9.]+)\s*)?(?:,|$)", re.IGNORECASE)
JSON_TYPE = "application/json"


class Prepared:
    """One answer for many readers: encoded once, packed at most once. Its tag is over what it holds, not over how old
    that is: a picture that is proven anew and did not change need not be sent again."""

    def __init__(self, raw: bytes, held: bytes) -> None:
        self.raw, self.tag = raw, f'W/"{tag_of(held)}"'
        self._packed = b""

    def packed(self) -> bytes:
        self._packed = self._packed or gzip.compress(self.raw, _LEVEL, mtime=0)
        return self._packed


def prepared(told: msgspec.Struct) -> Prepared:
    held = msgspec.structs.replace(told, as_of=0, stale=False)
    if isinstance(held, OverviewAnswer):
        held = msgspec.structs.replace(held, source=msgspec.structs.replace(held.source, as_of_ms=0))
    return Prepared(msgspec.json.encode(told), msgspec.json.encode(held))


def takes_gzip(request: Request) -> bool:
    found = _GZIP.search(request.headers.get("accept-encoding", ""))
    return found is not None and (found[1] is None or found[1].strip("0.") != "")


def has_already(request: Request, tag: str) -> bool:
    """If-None-Match, compared weakly as RFC 9110 wants it."""
    held = request.headers.get("if-none-match", "")
    if held.strip() == "*":
        return True
    return tag.removeprefix("W/") in {one.strip().removeprefix("W/") for one in held.split(",")}


def tag_of(body: bytes) -> str:
    return hashlib.blake2b(body, digest_size=12).hexdigest()


def answer(request: Request, told: msgspec.Struct | Prepared, *, status: int = 200) -> Response:
    """An answer of the API."""
    headers = {"Cache-Control": "no-store", "Vary": "Accept-Encoding"}
    raw = told.raw if isinstance(told, Prepared) else msgspec.json.encode(told)
    if isinstance(told, Prepared):
        headers |= {"Cache-Control": "no-cache", "ETag": told.tag}
        if has_already(request, told.tag):
            return Response(status_code=304, headers=headers)
    if len(raw) >= PACKED_BYTES_MIN and takes_gzip(request):
        headers["Content-Encoding"] = "gzip"
        raw = told.packed() if isinstance(told, Prepared) else gzip.compress(raw, _LEVEL, mtime=0)
    return Response(raw, status, headers, JSON_TYPE)
