"""The local API, driven in process over ASGI."""

import asyncio
import json
from typing import Any

import pytest

from meshnode.api import bus
from meshnode.api.app import BODY_BYTES_MAX, Api
from meshnode.api.operations import OPERATIONS
from meshnode.api.ports import AgentLine
from meshnode.model import commands
from meshnode.model.errors import Denied, Offline
from meshnode.model.views import Failure
from meshnode.wire import http
from tests.unit.api.asker import CannedNode

JsonObject = dict[str, Any]


class Exchange:
    """One request and what came back; the request's reader leaves when ``gone`` is set."""

    def __init__(self, method: str, target: str, body: bytes = b"", headers: dict[str, str] | None = None) -> None:
        path, _, query = target.partition("?")
        self.scope: JsonObject = {
            "type": "http", "method": method, "path": path, "raw_path": path.encode(), "root_path": "",
            "query_string": query.encode(), "http_version": "1.1", "asgi": {"version": "3.0"}, "server": ("m", 80),
            "scheme": "http",
            "headers": [(name.encode(), value.encode()) for name, value in (headers or {}).items()],
        }  # fmt: skip
        self.gone = asyncio.Event()
        self._more = asyncio.Event()
        self.status = 0
        self.body = b""
        self._pending = [body[at : at + 65_536] for at in range(0, len(body), 65_536)] or [b""]

    async def receive(self) -> JsonObject:
        if self._pending:
            chunk = self._pending.pop(0)
            return {"type": "http.request", "body": chunk, "more_body": bool(self._pending)}
        await self.gone.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: JsonObject) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
        self.body += message.get("body", b"")
        self._more.set()

    async def until(self, text: bytes, times: int = 1) -> None:
        """Waits until the answer so far holds ``text`` so many times."""
        async with asyncio.timeout(5):
            while self.body.count(text) < times:
                self._more.clear()
                await self._more.wait()

    async def run(self, api: Api) -> "Exchange":
        async with asyncio.timeout(5):
            await api.app(self.scope, self.receive, self.send)
        return self


def ask(node: CannedNode, method: str, target: str, body: object = None, **headers: str) -> tuple[int, JsonObject]:
    sent = b"" if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
    done = asyncio.run(Exchange(method, target, sent, headers).run(Api(node)))
    return done.status, json.loads(done.body)


REQUESTS: list[tuple[str, str, object, commands.AnyCommand]] = [
    ("GET", "/v1/status", None, commands.GetStatus()),
    ("GET", "/v1/identity", None, commands.GetIdentity()),
    ("GET", "/v1/nodes", None, commands.ListNodes()),
    ("GET", "/v1/nodes/alpha", None, commands.DescribeNode(name="alpha")),
    ("GET", "/v1/agents", None, commands.ListAgents()),
    ("POST", "/v1/bundles", {"source": "YWJj"}, commands.KeepBundle(source=b"abc")),
    ("POST", "/v1/nodes/beta/drain", {"reason": "new disk"}, commands.Drain(node="beta", reason="new disk")),
    ("POST", "/v1/nodes/beta/resume", {}, commands.Resume(node="beta")),
    ("POST", "/v1/agents/words/restart", {}, commands.RestartAgent(name="words")),
    ("POST", "/v1/agents/words/checkpoint", None, commands.FoldState(agent="words")),
    ("POST", "/v1/scale", {"name": "words", "replicas": 3}, commands.Scale(name="words", replicas=3)),
    ("POST", "/v1/plan", None, commands.PlanManifest()),
    ("GET", "/v1/states?agent=words", None, commands.ListStates(agent="words")),
    ("GET", "/v1/states/words/0?key=count&session=s1", None,
     commands.ShowState(unit="words/0", key="count", session="s1")),
    ("GET", "/v1/states/words/0/history", None, commands.StateHistory(unit="words/0")),
    ("GET", "/v1/states/words/diff?first=3&second=5", None, commands.StateDiff(unit="words", first=3, second=5)),
    ("POST", "/v1/states/words/0/restore", {"version": 3}, commands.RestoreState(unit="words/0", version=3)),
    ("DELETE", "/v1/states/words/0", None, commands.ForgetState(unit="words/0")),
    ("GET", "/v1/logs?agent=words&node=beta&after=7&limit=9", None,
     commands.ReadLogs(agent="words", node="beta", after=7, limit=9)),
    ("GET", "/v1/nodes?after=a1&limit=2", None, commands.ListNodes(after="a1", limit=2)),
    ("GET", "/v1/agents?after=words/0@alpha&limit=2", None, commands.ListAgents(after="words/0@alpha", limit=2)),
    ("POST", "/v1/journal", {"reader": "eyes", "cursor": {"boot": 3, "number": 7, "run": "ab"}, "wait_ms": 5},
     commands.ReadJournal(reader="eyes", cursor=commands.JournalCursor(3, 7, "ab"), wait_ms=5)),
    ("POST", "/v1/journals", {"reader": "eyes", "cursors": {"beta": {}}},
     commands.GatherJournals(reader="eyes", cursors={"beta": commands.JournalCursor()})),
    ("GET", "/v1/links?node=beta", None, commands.ListLinks(node="beta")),
    ("GET", "/v1/skills?skill=words.count&after=5&limit=2", None,
     commands.FindSkills(skill="words.count", after=5, limit=2)),
    ("GET", "/v1/skills?skill=words.count", None, commands.FindSkills(skill="words.count")),
    ("GET", "/v1/documents?kind=AgentCluster", None, commands.ListDocuments(kind="AgentCluster")),
    ("GET", "/v1/documents/AgentCluster/default/line3", None,
     commands.ListDocuments(kind="AgentCluster", namespace="default", name="line3")),
    ("GET", "/v1/documents/AgentCluster/default/line3/fields", None,
     commands.ShowDocument(kind="AgentCluster", namespace="default", name="line3")),
    ("GET", "/v1/documents/AgentCluster/default/line3/history?limit=5", None,
     commands.DocumentHistory(kind="AgentCluster", namespace="default", name="line3", limit=5)),
    ("GET", "/v1/documents/AgentCluster/default/line3/diff?first=1", None,
     commands.DocumentDiff(kind="AgentCluster", namespace="default", name="line3", first=1)),
    ("POST", "/v1/documents/AgentCluster/default/line3/resolve", {"field": "spec.replicas", "pick": 2},
     commands.ResolveConflict(
         kind="AgentCluster", namespace="default", name="line3", field="spec.replicas", pick=2)),
    ("POST", "/v1/documents/AgentCluster/default/line3/count", {"counter": "orders", "amount": -2},
     commands.AddToCounter(kind="AgentCluster", namespace="default", name="line3", counter="orders", amount=-2)),
    ("POST", "/v1/changes", {"after": "e.0", "wait_ms": 5}, commands.WatchDocuments(after="e.0", wait_ms=5)),
    ("POST", "/v1/sync", None, commands.SyncNow()),
    ("GET", "/v1/sync/stick?kind=AgentCluster", None, commands.ExportStick(kind="AgentCluster")),
    ("POST", "/v1/sync/stick", {"items": [{"kind": 2, "data": "YWJj"}]},
     commands.ImportStick(items=[commands.StickItem(2, b"abc")])),
    ("GET", "/v1/conflicts", None, commands.ListConflicts()),
    ("GET", "/v1/why/cluster/default/line3", None, commands.Why(subject="cluster/default/line3")),
    ("POST", "/v1/agents", {"name": "w", "argv": ["x"], "cwd": "/"}, commands.RunAgent(name="w", argv=["x"], cwd="/")),
    ("DELETE", "/v1/agents/words", None, commands.StopAgent(name="words")),
    ("POST", "/v1/call", {"skill": "s", "deadline_s": 1}, commands.CallSkill(skill="s", deadline_s=1.0)),
    ("POST", "/v1/ping", {"name": "beta"}, commands.PingNode(name="beta")),
    ("POST", "/v1/publish", {"topic": "topic/a", "data": [1]}, commands.PublishEvent(topic="topic/a", data=[1])),
    ("POST", "/v1/apply", {"manifest": {"metadata": {"name": "x"}}},
     commands.Apply(manifest={"metadata": {"name": "x"}})),
    ("DELETE", "/v1/documents/AgentCluster/default/line3", None,
     commands.DeleteDocument(kind="AgentCluster", namespace="default", name="line3")),
    ("POST", "/v1/invites", None, commands.MakeInvite()),
    ("POST", "/v1/down", None, commands.Shutdown()),
]  # fmt: skip


@pytest.mark.parametrize(("method", "target", "body", "command"), REQUESTS, ids=lambda value: str(value)[:40])
def test_a_request_becomes_its_command(method: str, target: str, body: object, command: commands.AnyCommand) -> None:
    node = CannedNode()
    status, answer = ask(node, method, target, body)
    assert (status, node.asked) == (200, [command])
    assert "error" not in answer


def test_every_operation_is_asked_for_in_these_tests() -> None:
    asked = {type(command) for _, _, _, command in REQUESTS}
    assert asked == {operation.command for operation in OPERATIONS}
    assert len(REQUESTS) >= len(OPERATIONS)


def test_one_document_is_given_bare_and_a_missing_one_is_404() -> None:
    status, answer = ask(CannedNode(), "GET", "/v1/documents/AgentCluster/default/line3")
    assert (status, answer["name"]) == (200, "line3")
    status, answer = ask(CannedNode(), "GET", "/v1/documents/AgentCluster/default/other")
    assert (status, answer["error"]["code"], answer["error"]["exit_code"]) == (404, "not-found", 3)


@pytest.mark.parametrize(
    ("method", "target", "body", "path", "words"),
    [
        ("POST", "/v1/call", {"skill": "s", "deadline": 1}, ["deadline"], "unknown field"),
        ("POST", "/v1/call", {"skill": "s", "arguments": [1]}, ["arguments"], "Expected `object`"),
        ("POST", "/v1/agents", {"name": "w", "argv": ["x", 1], "cwd": "/"}, ["argv", "1"], "Expected `str`"),
        ("POST", "/v1/ping", {}, ["name"], "required field is missing"),
        ("GET", "/v1/nodes?all=1", None, ["all"], "unknown field"),
        ("GET", "/v1/skills?skill=a&skill=b", None, ["skill"], "given twice"),
        ("POST", "/v1/states/words/restore", {"version": "x"}, ["version"], "Expected `int`"),
        ("POST", "/v1/states/words/restore", {}, ["version"], "required field is missing"),
        ("POST", "/v1/states/words/restore", {"unit": "other", "version": 1}, ["unit"], "the path says it already"),
        ("GET", "/v1/states/words/diff?first=one", None, ["first"], "Expected `int`"),
        ("POST", "/v1/agents", {"name": "w", "source": "&"}, ["source"], "Invalid base64"),
        ("GET", "/v1/events?after=-1", None, ["after"], "number of an event"),
        ("GET", "/v1/events?follow=maybe", None, ["follow"], "true or false"),
        ("GET", "/v1/events?since=1", None, ["since"], "unknown"),
    ],
)
def test_a_wrong_field_is_400_with_its_path(
    method: str, target: str, body: object, path: list[str], words: str
) -> None:
    node = CannedNode()
    status, answer = ask(node, method, target, body)
    assert (status, answer["error"]["details"]["path"], node.asked) == (400, path, [])
    assert words in answer["error"]["message"]


@pytest.mark.parametrize("body", [b"{", b"\xff", b"[1]", b"nonsense", b"[" * 100_000])
def test_broken_json_is_400_and_reaches_nobody(body: bytes) -> None:
    node = CannedNode()
    status, answer = ask(node, "POST", "/v1/call", body)
    assert (status, answer["error"]["exit_code"], node.asked) == (400, 2, [])


def test_a_body_over_the_limit_is_413() -> None:
    node = CannedNode()
    status, answer = ask(node, "POST", "/v1/call", b" " * (BODY_BYTES_MAX + 1))
    assert (status, answer["error"]["code"], node.asked) == (413, "too-large", [])


@pytest.mark.parametrize(
    ("code", "exit_code", "status"),
    [
        ("invalid", 2, 400), ("not-found", 3, 404), ("denied", 4, 403), ("offline", 6, 503), ("timeout", 124, 504),
        ("no-such-agent", 3, 404), ("agent-failed", 1, 409), ("half", 5, 502),
    ],
)  # fmt: skip
def test_a_failure_gets_the_status_of_its_code_or_exit_code(code: str, exit_code: int, status: int) -> None:
    node = CannedNode()
    node.refusal = Failure(code=code, message="no", next_step="do", exit_code=exit_code, details={"a": 1})
    got, answer = ask(node, "GET", "/v1/status")
    assert got == status
    assert answer["error"] == {
        "code": code, "message": "no", "next_step": "do", "exit_code": exit_code, "details": {"a": 1},
    }  # fmt: skip


def test_a_local_error_raised_by_the_node_is_a_failure_too() -> None:
    node = CannedNode()
    node.refusal = Denied("not yours", next_step="ask", details={"path": ["x"]})
    status, answer = ask(node, "GET", "/v1/status")
    assert (status, answer["error"]["code"], answer["error"]["details"]) == (403, "denied", {"path": ["x"]})


def test_a_path_that_is_not_there_and_a_wrong_method_point_to_the_list() -> None:
    for method, target, status in (("GET", "/v2/nodes", 404), ("PUT", "/v1/nodes", 405)):
        got, answer = ask(CannedNode(), method, target)
        assert got == status
        assert "/openapi.json" in answer["error"]["next_step"]


def test_a_fault_of_ours_is_answered_and_still_raised_for_the_log() -> None:
    node = CannedNode()
    node.fault = ZeroDivisionError("x")
    exchange = Exchange("GET", "/v1/status")
    with pytest.raises(ExceptionGroup):
        asyncio.run(exchange.run(Api(node)))
    assert exchange.status == 500
    assert json.loads(exchange.body)["error"]["message"] == "the node failed to answer: ZeroDivisionError"


def test_a_call_whose_reader_goes_is_dropped_and_harms_nobody() -> None:
    async def scenario() -> None:
        node = CannedNode()
        node.never = True
        exchange = Exchange("POST", "/v1/call", b'{"skill": "s"}')
        exchange.gone.set()
        await exchange.run(Api(node))
        assert (node.dropped, exchange.status) == (1, 499)

    asyncio.run(scenario())


def test_events_come_in_order_with_their_numbers_and_end_when_not_followed() -> None:
    exchange = asyncio.run(Exchange("GET", "/v1/events?follow=false").run(Api(CannedNode())))
    frames = exchange.body.decode().split("\n\n")
    assert frames[0].startswith(":")
    assert [frame.splitlines()[0] for frame in frames[1:4]] == ["id: 1", "id: 2", "id: 3"]
    assert json.loads(frames[3].splitlines()[2].removeprefix("data: "))["text"] == "fact 3"


@pytest.mark.parametrize(("target", "headers"), [("?after=2&follow=0", {}), ("?follow=0", {"last-event-id": "2"})])
def test_events_resume_after_the_last_one_read(target: str, headers: dict[str, str]) -> None:
    exchange = asyncio.run(Exchange("GET", f"/v1/events{target}", headers=headers).run(Api(CannedNode())))
    assert b"id: 3" in exchange.body
    assert b"id: 2" not in exchange.body


def test_a_quiet_stream_beats_and_ends_with_its_reader() -> None:
    async def scenario() -> None:
        node = CannedNode()
        exchange = Exchange("GET", "/v1/events")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(exchange.run(Api(node, heartbeat_s=0.001)))
            await exchange.until(b": still here", 3)
            assert node.watching == 1
            exchange.gone.set()
        assert node.watching == 0

    asyncio.run(scenario())


def test_changes_of_documents_come_as_typed_events_with_cursors_and_end_when_not_followed() -> None:
    exchange = asyncio.run(Exchange("GET", "/v1/watch?kind=AgentCluster&follow=false").run(Api(CannedNode())))
    frames = exchange.body.decode().split("\n\n")
    assert [frame.splitlines()[:2] for frame in frames[1:4]] == [
        ["id: s.0.d0", "event: added"], ["id: e.0", "event: synced"], ["id: e.1"],
    ]  # fmt: skip
    event = json.loads(frames[1].splitlines()[2].removeprefix("data: "))
    assert (event["type"], event["name"], event["document"]["name"]) == ("added", "line3", "line3")


@pytest.mark.parametrize(("target", "headers"), [("?after=e.7", {}), ("", {"last-event-id": "e.7"})])
def test_a_watch_goes_on_behind_the_last_cursor(target: str, headers: dict[str, str]) -> None:
    async def scenario() -> None:
        node = CannedNode()
        exchange = Exchange("GET", f"/v1/watch{target}", headers=headers)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(exchange.run(Api(node)))
            await exchange.until(b"event: changed")
            exchange.gone.set()
        asked = [command for command in node.asked if isinstance(command, commands.WatchDocuments)]
        assert (asked[0].after, asked[0].wait_ms) == ("e.7", 0)
        assert all(command.wait_ms > 0 for command in asked[1:])

    asyncio.run(scenario())


def test_a_watch_that_is_refused_is_no_stream() -> None:
    node = CannedNode()
    node.refusal = Failure(code="invalid", message="after is no cursor", exit_code=2)
    status, answer = ask(node, "GET", "/v1/watch?after=x")
    assert (status, answer["error"]["code"]) == (400, "invalid")
    for target in ("/v1/watch?follow=maybe", "/v1/watch?until=x"):
        assert ask(CannedNode(), "GET", target)[0] == 400


def test_closing_ends_streams_in_order() -> None:
    async def scenario() -> None:
        node = CannedNode()
        api = Api(node)
        exchange = Exchange("GET", "/v1/events")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(exchange.run(api))
            await exchange.until(b"fact 3")
            api.close()
        assert node.watching == 0

    asyncio.run(scenario())


def bus_routes() -> set[tuple[str, str]]:
    """What is served of the bus, by the routes themselves."""

    class NoAgents:
        """Nobody comes in."""

        def open(self, descriptor: int, said: http.Registration) -> AgentLine:
            raise Offline(f"{descriptor} {said}")

        def of(self, token: str) -> AgentLine:
            raise Offline(token)

    found = bus.routes(NoAgents(), asyncio.Event())
    return {(method, route.path) for route in found for method in (route.methods or set[str]()) - {"HEAD"}}


def test_the_openapi_document_names_every_path_and_resolves_every_reference() -> None:
    status, document = ask(CannedNode(), "GET", "/openapi.json")
    assert (status, document["openapi"]) == (200, "3.1.0")
    described = {(method.upper(), path) for path, methods in document["paths"].items() for method in methods}
    served = {(operation.method, operation.path_shown) for operation in OPERATIONS}
    streams = {("GET", "/v1/events"), ("GET", "/v1/watch"), ("GET", "/v1/subscribe")}
    assert described == served | streams | bus_routes()
    schemas = document["components"]["schemas"]
    for reference in json.dumps(document).split('"#/components/schemas/')[1:]:
        assert reference.partition('"')[0] in schemas
    ids = [operation["operationId"] for methods in document["paths"].values() for operation in methods.values()]
    assert len(set(ids)) == len(ids)
    why = document["paths"]["/v1/why/{subject}"]["get"]["parameters"]
    assert [(one["name"], one["in"], one["required"]) for one in why] == [
        ("subject", "path", True), ("node", "query", False),
    ]  # fmt: skip
    assert "ask" not in schemas["CallSkill"]["properties"]
    restore = document["paths"]["/v1/states/{unit}/restore"]["post"]
    assert restore["requestBody"]["content"]["application/json"]["schema"]["required"] == ["version"]
    assert [(one["name"], one["in"]) for one in restore["parameters"]] == [("unit", "path")]
    assert "application/jsonl" in document["paths"]["/v1/call"]["post"]["responses"]["200"]["content"]


# -- streams -----------------------------------------------------------------------------------------------------------

STREAMING = b'{"skill": "s", "stream": true}'


def test_a_stream_is_a_line_an_item_and_one_that_ends_it() -> None:
    exchange = asyncio.run(Exchange("POST", "/v1/call", STREAMING).run(Api(CannedNode())))
    lines = [json.loads(line) for line in exchange.body.splitlines()]
    assert exchange.status == 200
    assert [line["item"]["item"] for line in lines[:-1]] == [{"n": 0}, {"n": 1}, {"n": 2}]
    assert lines[-1]["end"]["call_id"] == "c1"


def test_a_stream_that_fails_after_an_item_ends_with_its_failure() -> None:
    node = CannedNode()
    node.refusal = Failure(code="skill-failed", message="no")
    exchange = asyncio.run(Exchange("POST", "/v1/call", STREAMING).run(Api(node)))
    assert json.loads(exchange.body.splitlines()[-1])["failure"]["code"] == "skill-failed"


@pytest.mark.parametrize(
    "refusal", [Failure(code="not-found", message="no", exit_code=3), Denied("no", next_step="ask")]
)
def test_a_stream_that_fails_before_its_first_item_is_refused_like_any_call(refusal: Failure | Denied) -> None:
    node = CannedNode()
    node.refusal, node.items = refusal, []
    status, answer = ask(node, "POST", "/v1/call", STREAMING)
    assert (status, answer["error"]["code"]) == (
        (404, "not-found") if isinstance(refusal, Failure) else (403, "denied")
    )


def test_a_stream_without_items_is_its_end_alone() -> None:
    node = CannedNode()
    node.items = []
    exchange = asyncio.run(Exchange("POST", "/v1/call", STREAMING).run(Api(node)))
    assert [list(json.loads(line)) for line in exchange.body.splitlines()] == [["end"]]


def test_a_stream_whose_reader_goes_is_dropped() -> None:
    async def scenario() -> None:
        node = CannedNode()
        node.never = True
        exchange = Exchange("POST", "/v1/call", STREAMING)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(exchange.run(Api(node)))
            await exchange.until(b'"item"', 3)
            assert node.dropped == 0
            exchange.gone.set()
        assert node.dropped == 1
        node.items = []
        gone = Exchange("POST", "/v1/call", STREAMING)
        gone.gone.set()
        await gone.run(Api(node))
        assert (node.dropped, gone.status) == (2, 499)

    asyncio.run(scenario())


def test_the_next_item_is_taken_only_when_the_last_one_has_left() -> None:
    async def scenario() -> None:
        node = CannedNode()
        stalled = asyncio.Event()
        exchange = Exchange("POST", "/v1/call", STREAMING)
        whole = exchange.send

        async def slow(message: JsonObject) -> None:
            await whole(message)
            if b'"number":1' in message.get("body", b""):
                await stalled.wait()

        exchange.send = slow  # type: ignore[method-assign]
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(exchange.run(Api(node)))
            await exchange.until(b'"number":1')
            for _ in range(10):
                await asyncio.sleep(0)
            assert node.taken == 1
            stalled.set()
        assert node.taken == 3

    asyncio.run(scenario())
