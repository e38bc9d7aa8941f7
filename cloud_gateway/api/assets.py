"""The page's files: a list of what may be served, read once, packed once. Nothing else of the disk can be asked for."""

import base64
import gzip
import hashlib
import re
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
from starlette.requests import Request
from starlette.responses import Response

from cloud_gateway.api.respond import has_already, tag_of, takes_gzip

_TYPES = {
    ".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml", ".png": "image/png", ".ico": "image/x-icon", ".woff2": "font/woff2",
    ".webmanifest": "application/manifest+json", ".txt": "text/plain; charset=utf-8",
}  # fmt: skip
_PACKED = (".html", ".js", ".css", ".svg", ".txt", ".webmanifest")
_LEFT_OUT = frozenset({"node_modules", "tests", "types"})
FILES_MAX, FILE_BYTES_MAX = 500, 2 * 1024 * 1024
# A name that changes with the content may be kept for ever: preact@10.2/..., app-1f2e3d4c5b.js.
_NAMED_BY_CONTENT = re.compile(r"@\d+\.\d+|[.-][0-9a-f]{8,}\.\w+$")
_FOREVER, _ASK_FIRST = "public, max-age=31536000, immutable", "no-cache"
_LOOK_AGAIN_S = 1.0
_IMPORT_MAP = re.compile(rb"<script type=\"importmap\">(.*?)</script>", re.DOTALL)
_POLICY = (
    "default-src 'none'; script-src 'self'{hashes}; style-src 'self'; img-src 'self' data:; font-src 'self'; "
    "connect-src 'self'; manifest-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; "
    "frame-ancestors 'none'"
)
POLICY_OF_DATA = "default-src 'none'; frame-ancestors 'none'"


class Asset(msgspec.Struct, frozen=True):
    """One file as it is sent. ``stamp``: size and time of the file it was read from. ``packed``: b"" = as it is."""

    stamp: tuple[int, int]
    body: bytes
    packed: bytes
    tag: str
    headers: dict[str, str]


class Assets:
    """Files of one directory. Changed ones are read anew, so that a page can be worked on while it is served."""

    def __init__(self, page: Path) -> None:
        self._page = page
        self._listed: dict[str, Path] = {}
        self._read: dict[str, Asset] = {}
        self._looked_s = float("-inf")

    def answer(self, request: Request) -> Response | None:
        """The file of this path; None where there is none."""
        path: str = request.scope["path"]
        name = path.removeprefix("/") or "index.html"
        asset = self._asset(name)
        if asset is None:
            return None
        headers = {**asset.headers, "ETag": f'"{asset.tag}"'}
        if has_already(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        if asset.packed and takes_gzip(request):
            headers["Content-Encoding"] = "gzip"
            return Response(asset.packed, headers=headers)
        return Response(asset.body, headers=headers)

    def _asset(self, name: str) -> Asset | None:
        path = self._listed.get(name) or self._look_for(name)
        if path is None:
            return None
        try:
            stat = path.stat()
            held = self._read.get(name)
            if held is None or held.stamp != (stat.st_size, stat.st_mtime_ns):
                held = _read(name, path, (stat.st_size, stat.st_mtime_ns))
                self._read[name] = held
        except OSError:  # it went since the directory was listed
            self._listed.pop(name, None)
            self._read.pop(name, None)
            return None
        return held

    def _look_for(self, name: str) -> Path | None:
        """List the directory again, but not for every wrong address."""
        if time.monotonic() - self._looked_s < _LOOK_AGAIN_S:
            return None
        self._looked_s = time.monotonic()
        self._listed = dict(_walk(self._page, ""))
        return self._listed.get(name)


def _walk(directory: Path, prefix: str, left: int = FILES_MAX) -> Iterator[tuple[str, Path]]:
    """What may be served: no dot files, no links, no packages, only kinds of files that a page is made of."""
    if not directory.is_dir():
        return
    for entry in sorted(directory.iterdir()):
        if entry.name.startswith(".") or entry.name in _LEFT_OUT or entry.is_symlink() or left <= 0:
            continue
        if entry.is_dir():
            for found in _walk(entry, f"{prefix}{entry.name}/", left):
                left -= 1
                yield found
        elif entry.suffix in _TYPES and entry.stat().st_size <= FILE_BYTES_MAX:
            left -= 1
            yield prefix + entry.name, entry


def _read(name: str, path: Path, stamp: tuple[int, int]) -> Asset:
    body = path.read_bytes()
    packed = gzip.compress(body, 9, mtime=0) if path.suffix in _PACKED else b""
    headers = {
        "Content-Type": _TYPES[path.suffix],
        "Cache-Control": _FOREVER if _NAMED_BY_CONTENT.search(name) else _ASK_FIRST,
        "Vary": "Accept-Encoding",
    }
    if path.suffix == ".html":
        headers["Content-Security-Policy"] = policy(body)
    return Asset(stamp, body, packed if len(packed) < len(body) else b"", tag_of(body), headers)


def policy(html: bytes) -> str:
    """The content security policy of a page: its own files, and the one import map that stands in it, by its hash."""
    maps = [hashlib.sha256(found).digest() for found in _IMPORT_MAP.findall(html)]
    return _POLICY.format(hashes="".join(f" 'sha256-{base64.b64encode(digest).decode()}'" for digest in maps))
