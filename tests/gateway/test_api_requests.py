"""Requests to the mesh: kept once, whatever is repeated; refused before anything is kept."""

import asyncio
import json

import pytest

from tests.gateway.api_caller import BEARER, JSON, Room, told

SCALE = {"verb": "scale", "body": {"name": "words", "replicas": 3}}
KEY = {"Idempotency-Key": "scale-words-1"}
GOOD = [
    SCALE,
    {"verb": "scale", "body": {"name": "cluster/default/line3", "replicas": 0, "agent": "words"}},
    {"verb": "apply", "body": {"manifest": {"kind": "AgentCluster", "spec": {"deep": [1, {"x": None}]}}}},
    {"verb": "drain", "body": {"node": "beta"}},
    {"verb": "resume", "body": {"node": "beta"}},
    {"verb": "delete", "body": {"kind": "Agent", "namespace": "default", "name": "words"}},
]


@pytest.mark.parametrize("request_", GOOD, ids=lambda request: request["verb"])
def test_a_request_is_kept_as_queued_and_can_be_watched(request_: dict[str, object]) -> None:
    async def story(room: Room) -> None:
        answer = await room.api.post(request_)
        item = answer.json()["item"]
        assert answer.status == 202 and item["state"] == "queued" and item["verb"] == request_["verb"]
        assert item["asked_ms"] == room.clock and item["by"] == "192.0.2.7"
        body = request_["body"]
        assert isinstance(body, dict) and body.items() <= item["body"].items()
        again = await room.api.get(answer.headers["location"])
        assert again.json()["item"] == item

    told(story)


def test_the_same_key_is_the_same_command_however_often_it_comes() -> None:
    async def story(room: Room) -> None:
        async with asyncio.TaskGroup() as tasks:
            asked = [tasks.create_task(room.api.post(SCALE, BEARER | JSON | KEY)) for _ in range(10)]
        ids = {answer.result().json()["item"]["command_id"] for answer in asked}
        assert len(ids) == len(await room.commands()) == 1
        spelled = b'{"body": {"replicas": 3, "name": "words", "agent": ""}, "verb": "scale"}'
        assert (await room.api.post(spelled, BEARER | JSON | KEY)).json()["item"]["command_id"] in ids

    told(story)


def test_a_key_cannot_be_used_for_another_request() -> None:
    async def story(room: Room) -> None:
        await room.api.post(SCALE, BEARER | JSON | KEY)
        other = await room.api.post({"verb": "drain", "body": {"node": "beta"}}, BEARER | JSON | KEY)
        assert other.status == 409 and other.json()["code"] == "key-reused"
        assert len(await room.commands()) == 1

    told(story)


def test_without_a_key_every_request_is_its_own() -> None:
    async def story(room: Room) -> None:
        ids = {(await room.api.post(SCALE)).json()["item"]["command_id"] for _ in range(3)}
        assert len(ids) == 3

    told(story)


REFUSED = [
    (b"", 400, ""),
    (b"{", 400, ""),
    (b"[]", 400, ""),
    (b"\xff\xfe", 400, ""),
    (b"[" * 100_000, 400, ""),
    ({"verb": "destroy", "body": {}}, 400, "verb"),
    ({"body": {}}, 400, "verb"),
    ({"verb": "drain"}, 400, "body"),
    ({"verb": "drain", "body": {}}, 400, "body.node"),
    ({"verb": "drain", "body": {"node": ""}}, 400, "body.node"),
    ({"verb": "drain", "body": {"node": 3}}, 400, "body.node"),
    ({"verb": "drain", "body": {"node": "x" * 254}}, 400, "body.node"),
    ({"verb": "drain", "body": {"node": "beta"}, "by": "me"}, 400, "by"),
    ({"verb": "drain", "body": {"node": "beta", "force": True}}, 400, "body.force"),
    ({"verb": "scale", "body": {"name": "words", "replicas": -1}}, 400, "body.replicas"),
    ({"verb": "scale", "body": {"name": "words", "replicas": 100_001}}, 400, "body.replicas"),
    ({"verb": "apply", "body": {"manifest": []}}, 400, "body.manifest"),
    ({"verb": "drain", "body": {"node": "be\0ta"}}, 400, "body"),
    (b" " * (1024 * 1024 + 1), 413, ""),
]


@pytest.mark.parametrize(("body", "status", "field"), REFUSED, ids=range(len(REFUSED)))
def test_what_is_no_request_is_refused_by_its_field_and_not_kept(body: object, status: int, field: str) -> None:
    async def story(room: Room) -> None:
        answer = await room.api.post(body)
        problem = answer.json()
        assert answer.status == status and problem.get("field", "") == field, problem
        assert await room.commands() == []

    told(story)


def test_a_text_that_only_looks_like_a_nul_is_kept() -> None:
    async def story(room: Room) -> None:
        manifest = {"kind": "Agent", "note": "write \\u0000 for NUL"}
        answer = await room.api.post(json.dumps({"verb": "apply", "body": {"manifest": manifest}}).encode())
        assert answer.status == 202 and answer.json()["item"]["body"]["manifest"] == manifest

    told(story)


@pytest.mark.parametrize("media", ["", "text/plain", "application/x-www-form-urlencoded", "multipart/form-data"])
def test_only_json_is_taken(media: str) -> None:
    async def story(room: Room) -> None:
        answer = await room.api.post(SCALE, BEARER | {"Content-Type": media})
        assert answer.status == 415 and answer.json()["field"] == "Content-Type"
        charset = await room.api.post(SCALE, BEARER | {"Content-Type": "Application/JSON; charset=utf-8"})
        assert charset.status == 202

    told(story)


@pytest.mark.parametrize("key", ["x" * 201, "tab\tin it", "bell\x07"])
def test_a_key_that_nobody_could_repeat_is_refused(key: str) -> None:
    async def story(room: Room) -> None:
        answer = await room.api.post(SCALE, BEARER | JSON | {"Idempotency-Key": key})
        assert answer.status == 400 and answer.json()["field"] == "Idempotency-Key"

    told(story)


def test_requests_that_the_mesh_has_not_taken_are_bounded() -> None:
    async def story(room: Room) -> None:
        statuses = [(await room.api.post(SCALE)).status for _ in range(4)]
        assert statuses == [202, 202, 202, 503]
        assert len(await room.commands()) == 3

    told(story, open_commands_max=3)


def test_a_body_that_does_not_come_is_not_waited_for() -> None:
    async def story(room: Room) -> None:
        async def never() -> dict[str, object]:
            await asyncio.Event().wait()
            raise AssertionError

        sent: list[dict[str, object]] = []

        async def send(message: dict[str, object]) -> None:
            sent.append(message)

        scope = room.api._scope("POST", "/api/v1/commands", BEARER | JSON, "127.0.0.1:7900")
        await room.gateway.app(scope, never, send)  # pyright: ignore
        assert sent[0]["status"] == 408

    told(story, body_timeout_s=0.02)
