"""The page's files: those and no others, packed, tagged, and bound by a strict policy."""

import base64
import gzip
import hashlib
import re
from pathlib import Path

import pytest

from cloud_gateway.api.assets import policy
from cloud_gateway.api.settings import PAGE
from tests.gateway.api_caller import Room, told, until

CLASSIFIED = b"what only the owner may read"
MAP = b'{"imports": {"x": "./x.js"}}'
HTML = b'<!doctype html><script type="importmap">' + MAP + b'</script><script type="module" src="app.js"></script>'


@pytest.fixture
def page(tmp_path: Path) -> Path:
    page = tmp_path / "page"
    files = {
        "index.html": HTML,
        "app.js": b"// app\n" * 200,
        "css/base.css": b"a {}\n" * 300,
        "vendor/x.js": b"export {}",
        "vendor/x@1.2.3/x.js": b"export {}",
        "app-0f1e2d3c4b.js": b"export {}",
        "vendor/LICENSE.x.txt": b"MIT",
        "package.json": b"{}",
        "package-lock.json": b"{}",
        "vendor.mjs": CLASSIFIED,
        ".npmrc": CLASSIFIED,
        ".hidden/app.js": CLASSIFIED,
        "node_modules/x/index.js": CLASSIFIED,
        "big.js": b"x" * (2 * 1024 * 1024 + 1),
    }
    for name, body in files.items():
        (page / name).parent.mkdir(parents=True, exist_ok=True)
        (page / name).write_bytes(body)
    (tmp_path / "secret.js").write_bytes(CLASSIFIED)
    (page / "link.js").symlink_to(tmp_path / "secret.js")
    (page / "linked").symlink_to(tmp_path)
    return page


SERVED = {
    "/": "text/html; charset=utf-8",
    "/index.html": "text/html; charset=utf-8",
    "/app.js": "text/javascript; charset=utf-8",
    "/css/base.css": "text/css; charset=utf-8",
    "/vendor/LICENSE.x.txt": "text/plain; charset=utf-8",
}


@pytest.mark.parametrize(("path", "media"), SERVED.items())
def test_the_pages_files_are_served_with_their_types(page: Path, path: str, media: str) -> None:
    async def story(room: Room) -> None:
        answer = await room.api.get(path)
        assert answer.status == 200 and answer.headers["content-type"] == media
        assert answer.body == (page / (path[1:] or "index.html")).read_bytes()

    told(story, page=page)


HIDDEN = [
    "/package.json", "/package-lock.json", "/vendor.mjs", "/.npmrc", "/.hidden/app.js", "/node_modules/x/index.js",
    "/big.js", "/link.js", "/linked/secret.js", "/../secret.js", "/css/../../secret.js", "//etc/passwd", "/css",
    "/css/", "/app.js/", "/APP.js", "/app.js\0", "/..%2fsecret.js", "/css/..\\..\\secret.js",
]  # fmt: skip


@pytest.mark.parametrize("path", HIDDEN)
def test_nothing_else_of_the_disk_is_served(page: Path, path: str) -> None:
    async def story(room: Room) -> None:
        answer = await room.api.get(path)
        assert answer.status == 404 and CLASSIFIED not in answer.body

    told(story, page=page)


def test_files_named_by_their_content_are_kept_for_ever_and_others_are_asked_for(page: Path) -> None:
    async def story(room: Room) -> None:
        kept = {path: (await room.api.get(path)).headers["cache-control"] for path in
                ("/vendor/x@1.2.3/x.js", "/app-0f1e2d3c4b.js", "/vendor/x.js", "/app.js", "/")}  # fmt: skip
        forever = "public, max-age=31536000, immutable"
        assert list(kept.values()) == [forever, forever, "no-cache", "no-cache", "no-cache"]

    told(story, page=page)


def test_a_file_the_browser_has_is_not_sent_again_and_a_changed_one_is(page: Path) -> None:
    async def story(room: Room) -> None:
        tag = (await room.api.get("/app.js")).headers["etag"]
        again = await room.api.get("/app.js", If_None_Match=tag)
        assert (again.status, again.body) == (304, b"")
        (page / "app.js").write_bytes(b"// other")
        changed = await room.api.get("/app.js", If_None_Match=tag)
        assert (changed.status, changed.body) == (200, b"// other")
        (page / "app.js").unlink()
        assert (await room.api.get("/app.js")).status == 404

    told(story, page=page)


def test_a_new_file_is_found_within_a_second(page: Path) -> None:
    async def story(room: Room) -> None:
        assert (await room.api.get("/new.js")).status == 404
        (page / "new.js").write_bytes(b"export {}")
        await until(lambda: room.gateway._assets._look_for("new.js") is not None)
        assert (await room.api.get("/new.js")).status == 200

    told(story, page=page)


def test_files_are_packed_once_for_those_who_take_that(page: Path) -> None:
    async def story(room: Room) -> None:
        packed = await room.api.get("/app.js", Accept_Encoding="gzip, br")
        assert packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed.body) == (page / "app.js").read_bytes()
        assert "content-encoding" not in (await room.api.get("/app.js")).headers

    told(story, page=page)


def test_the_policy_lets_the_one_import_map_in_by_its_hash_and_nothing_else_inline(page: Path) -> None:
    async def story(room: Room) -> None:
        said = (await room.api.get("/")).headers["content-security-policy"]
        digest = base64.b64encode(hashlib.sha256(MAP).digest()).decode()
        assert f"script-src 'self' 'sha256-{digest}';" in said
        assert "unsafe" not in said and "*" not in said and "http" not in said
        for rule in ("default-src 'none'", "style-src 'self'", "connect-src 'self'", "img-src 'self' data:",
                     "object-src 'none'", "base-uri 'none'", "frame-ancestors 'none'"):  # fmt: skip
            assert rule in said.split("; "), rule
        script = (await room.api.get("/app.js")).headers["content-security-policy"]
        assert script == "default-src 'none'; frame-ancestors 'none'"

    told(story, page=page)


def test_other_inline_scripts_get_no_hash() -> None:
    assert policy(b'<script>alert(1)</script><script type="module">x</script>').count("sha256-") == 0
    assert policy(HTML).count("sha256-") == 1


def test_the_real_page_keeps_to_its_policy() -> None:
    html = (PAGE / "index.html").read_text()
    inline = re.findall(r"<script(?![^>]*\bsrc=)([^>]*)>", html)
    assert inline in ([], [' type="importmap"']), "only an import map may stand in the page"
    assert not re.search(r"\sstyle=|\son\w+=|<style|javascript:|https?://(?!www\.w3\.org)", html)


def test_a_gateway_without_its_page_still_answers(tmp_path: Path) -> None:
    async def story(room: Room) -> None:
        assert (await room.api.get("/")).status == 404
        assert (await room.api.get("/api/v1/nodes")).status == 200

    told(story, page=tmp_path / "nowhere")
