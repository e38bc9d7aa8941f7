"""Who may come in, how often, and what nobody may learn."""

import json
import logging
import re

import pytest

from cloud_gateway.api.app import Gateway
from cloud_gateway.api.limits import Limits, client_of
from cloud_gateway.api.operations import BASE, OPERATIONS
from cloud_gateway.api.settings import ApiSettings, Rate
from cloud_gateway.store.port import StoreFailed
from meshnode.model.errors import Invalid
from tests.gateway.api_caller import BEARER, HOST, JSON, Caller, Room, told
from tests.gateway.api_kit import TOKEN

SCALE = {"verb": "scale", "body": {"name": "words", "replicas": 3}}
CARRIED = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "x-frame-options": "DENY",
    "cross-origin-opener-policy": "same-origin",
    "cross-origin-resource-policy": "same-origin",
}


def test_every_answer_carries_the_headers_that_bind_a_browser() -> None:
    async def story(room: Room) -> None:
        for method, path in (("GET", "/"), ("GET", "/api/v1/nodes"), ("GET", "/nothing"), ("PUT", "/api/v1/nodes")):
            answer = await room.api.ask(method, path)
            assert {name: answer.headers.get(name) for name in CARRIED} == CARRIED, path
            assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
            assert "server" not in answer.headers and "access-control-allow-origin" not in answer.headers

    told(story)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1", "127.0.0.1:7901", "", "127.0.0.1:7900.evil.example"])
def test_a_name_that_is_not_the_gateways_gets_nothing(host: str) -> None:
    async def story(room: Room) -> None:
        for path in ("/", "/api/v1/nodes", "/healthz"):
            answer = await room.api.ask("GET", path, host=host)
            assert answer.status == 421 and answer.json()["code"] == "wrong-host", path

    told(story)


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "http://evil.example"},
        {"Origin": "null"},
        {"Origin": f"http://{HOST}.evil.example"},
        {"Origin": f"ftp://{HOST}"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_a_foreign_page_cannot_request_anything_even_with_the_token(headers: dict[str, str]) -> None:
    async def story(room: Room) -> None:
        answer = await room.api.post(SCALE, BEARER | JSON | headers)
        assert answer.status == 403 and answer.json()["code"] == "denied"
        assert await room.commands() == []
        own = await room.api.post(SCALE, BEARER | JSON | {"Origin": f"http://{HOST}", "Sec-Fetch-Site": "same-origin"})
        assert own.status == 202

    told(story)


def test_a_foreign_page_gets_no_place_in_the_feed() -> None:
    async def story(room: Room) -> None:
        answer = await room.api.get("/api/v1/watch", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="cors")
        assert answer.status == 403 and room.gateway.feed.readers == 0
        typed = await room.api.get("/api/v1/nodes", Sec_Fetch_Site="cross-site", Sec_Fetch_Mode="navigate")
        assert typed.status == 200

    told(story)


BAD_TOKENS = ["", "Bearer", "Bearer wrong", f"Basic {TOKEN}", f"Bearer {TOKEN}x", f"Bearer {TOKEN[:-1]}", "Bearer \xff"]


@pytest.mark.parametrize("shown", BAD_TOKENS)
def test_a_request_without_the_token_is_refused_and_not_kept(shown: str) -> None:
    async def story(room: Room) -> None:
        answer = await room.api.post(SCALE, JSON | {"Authorization": shown})
        assert answer.status == 401 and answer.headers["www-authenticate"].startswith("Bearer")
        assert await room.commands() == []

    told(story)


def test_where_others_can_connect_reading_needs_the_token_too() -> None:
    async def story(room: Room) -> None:
        paths = [op.path for op in OPERATIONS if "{" not in op.path] + ["/watch", "/metrics", "/openapi.json"]
        for path in [BASE + path for path in paths] + ["/metrics", "/openapi.json", "/api/v1/nothing"]:
            assert (await room.api.get(path)).status == 401, path
        assert (await room.api.ask("GET", "/api/v1/nodes", headers=BEARER)).status == 200
        assert (await room.api.get("/healthz")).status == 200
        assert (await room.api.get("/")).status != 401  # the page itself knows nothing, and asks for the token

    told(story, public=True)


def test_readers_may_ask_often_and_requests_are_few() -> None:
    async def story(room: Room) -> None:
        statuses = [(await room.api.get("/api/v1/gaps")).status for _ in range(40)]
        assert statuses[:30] == [200] * 30 and 429 in statuses
        late = await room.api.get("/api/v1/gaps")
        assert late.json()["code"] == "too-many" and int(late.headers["retry-after"]) >= 1
        asked = [(await room.api.post(SCALE)).status for _ in range(5)]
        assert asked == [202, 202, 202, 429, 429]
        other = Caller(room.gateway, "192.0.2.8")
        assert (await other.get("/api/v1/gaps")).status == 200

    told(story, reads=Rate(per_s=0.01, burst=30), requests=Rate(per_s=0.01, burst=3))


def test_wrong_tokens_are_counted_before_they_are_looked_at() -> None:
    async def story(room: Room) -> None:
        guesses = [(await room.api.post(SCALE, JSON | {"Authorization": "Bearer x"})).status for _ in range(4)]
        assert guesses == [401, 401, 401, 429]

    told(story, requests=Rate(per_s=0.01, burst=3))


def test_a_bucket_fills_again_and_the_number_of_clients_is_bounded() -> None:
    limits = Limits(Rate(per_s=2, burst=3), clients_max=10)
    assert [limits.take("a", 0.0) for _ in range(4)] == [0.0, 0.0, 0.0, 0.5]
    assert limits.take("a", 0.6) == 0.0
    for number in range(100):
        limits.take(str(number), 1.0)
    assert len(limits) == 10


def test_one_household_is_one_client() -> None:
    assert client_of("2001:db8:1:2::3") == client_of("2001:db8:1:2:ffff::9") != client_of("2001:db8:1:3::3")
    assert client_of("::ffff:192.0.2.7") == client_of("192.0.2.7") == "192.0.2.7"
    assert client_of("::1") == "::1" and client_of("fe80::1%eth0") and client_of("") == ""


@pytest.mark.parametrize(
    ("method", "path", "status", "allow"),
    [
        ("GET", "/api/v1/nothing", 404, ""),
        ("GET", "/nothing.js", 404, ""),
        ("GET", "/api/v1/nodes/", 404, ""),
        ("POST", "/nothing", 404, ""),
        ("PUT", "/api/v1/nodes", 405, "GET, HEAD"),
        ("DELETE", "/api/v1/commands", 405, "GET, HEAD, POST"),
        ("POST", "/index.html", 405, "GET, HEAD"),
    ],
)
def test_what_is_not_offered_is_a_problem_with_a_way_out(method: str, path: str, status: int, allow: str) -> None:
    async def story(room: Room) -> None:
        answer = await room.api.ask(method, path, headers=BEARER)
        assert answer.status == status and answer.headers.get("allow", "") == allow
        assert answer.headers["content-type"] == "application/problem+json" and answer.json()["next_step"]

    told(story)


def test_head_is_answered_like_get() -> None:
    async def story(room: Room) -> None:
        for path in ("/", "/api/v1/nodes", "/api/v1/watch", "/metrics"):
            assert (await room.api.ask("HEAD", path)).status == 200, path

    told(story)


def test_a_mistake_of_ours_tells_nobody_outside_what_it_was(caplog: pytest.LogCaptureFixture) -> None:
    async def story(room: Room) -> None:
        room.store.fails = ZeroDivisionError("/srv/secret/place.py is broken")
        answer = await room.api.get("/api/v1/nodes")
        assert answer.status == 500 and answer.json()["code"] == "internal"
        said = answer.body.decode() + json.dumps(answer.headers)
        assert not re.search(r"secret|Traceback|ZeroDivision|\.py|line \d", said)
        assert (await room.api.get("/api/v1/openapi.json")).status == 200

    with caplog.at_level(logging.ERROR):
        told(story)
    assert "a request failed" in caplog.text and "ZeroDivisionError" in caplog.text


def test_a_store_that_fails_or_sleeps_is_said_to_and_its_words_stay_in_the_log() -> None:
    async def story(room: Room) -> None:
        room.store.fails = StoreFailed("no space left on /srv/secret/fleet.db")
        broken = await room.api.get("/api/v1/nodes")
        assert broken.status == 503 and broken.headers["retry-after"] and b"secret" not in broken.body
        health = await room.api.get("/healthz")
        assert health.status == 503 and health.json()["reasons"] and b"secret" not in health.body
        assert (await room.api.get("/metrics")).body.count(b"meshnode_gateway_store_up 0") == 1
        room.store.fails, room.store.slow_s = None, 5.0
        slow = await room.api.get("/api/v1/nodes")
        assert slow.status == 503 and slow.json()["code"] == "store-failed"
        assert (await room.api.get("/healthz")).status == 503

    told(story, store_timeout_s=0.02)


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"hosts": frozenset[str]()}, "hosts"),
        ({"hosts": frozenset({"Evil Host"})}, "hosts"),
        ({"token": "short"}, "token"),
        ({"token": "with a newline in it\n"}, "token"),
    ],
)
def test_settings_that_would_leave_the_door_open_are_refused(given: dict[str, object], says: str) -> None:
    kept: dict[str, object] = {"hosts": frozenset({HOST}), "token": TOKEN, **given}
    with pytest.raises(Invalid, match=says) as caught:
        ApiSettings(**kept)  # pyright: ignore
    assert caught.value.next_step


def test_only_http_is_spoken() -> None:
    async def story(room: Room) -> None:
        gateway: Gateway = room.gateway

        async def nothing(*_: object) -> dict[str, object]:
            raise AssertionError

        await gateway.app({"type": "websocket"}, nothing, nothing)  # pyright: ignore

    told(story)
