"""The API is asked what its own OpenAPI document allows, and much that it does not: it must never break, and only
answer what it says it answers."""

import asyncio
import contextlib
import dataclasses
import threading
import time
from collections.abc import Iterator

import msgspec
import pytest
import schemathesis
from schemathesis.config import SchemathesisConfig
from schemathesis.engine import from_schema
from schemathesis.engine.events import NonFatalError, ScenarioFinished

from cloud_gateway.api import app, operations
from cloud_gateway.api.desk import Desk
from cloud_gateway.api.openapi import document
from cloud_gateway.api.parameters import Asked
from tests.gateway.api_kit import TOKEN, serving

CHECKS = (
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_schema_conformance",
    "unsupported_method",
)
# What is asked is bounded by number: some 8 s of an idle core. This only ends a run that hangs.
BUDGET_S = 180
# One of each sort of parameters; lists differ only in their names.
EDGES = ("/api/v1/nodes/{name}/load", "/api/v1/nodes", "/api/v1/events", "/api/v1/watch", "/api/v1/commands")


@contextlib.contextmanager
def gateway() -> Iterator[str]:
    """A gateway on loopback, in a loop of its own."""
    addresses: list[str] = []
    ready, ended = threading.Event(), threading.Event()

    async def serve() -> None:
        async with serving(12, per_node=3, alive=False, open_commands_max=10**6) as address:
            addresses.append(address)
            ready.set()
            await asyncio.to_thread(ended.wait)

    thread = threading.Thread(target=lambda: asyncio.run(serve()), name="gateway")
    thread.start()
    try:
        assert ready.wait(20), "the gateway did not start"
        yield addresses[0]
    finally:
        ended.set()
        thread.join(20)


def findings(
    address: str, *, paths: tuple[str, ...] = (), examples: int = 12, edges: bool = True
) -> tuple[set[str], list[str]]:
    """Which operations were asked, and what was wrong with their answers. ``edges``: every parameter at and beyond
    each of its bounds, and methods that there are not."""
    config = SchemathesisConfig.from_dict(
        {
            "seed": 7,
            "base-url": address,
            "headers": {"Authorization": f"Bearer {TOKEN}"},
            "request-timeout": 10,
            "max-stream-events": 1,
            "phases": {"stateful": {"enabled": False}, "coverage": {"enabled": edges}},
            "generation": {"max-examples": examples, "deterministic": True, "database": "none"},
            "checks": {"enabled": False, **{name: {"enabled": True} for name in CHECKS}},
        }
    )
    schema = schemathesis.openapi.from_dict(msgspec.json.decode(msgspec.json.encode(document())), config=config)
    wanted = schema.include(path=list(paths)) if paths else schema
    asked, wrong = set[str](), list[str]()
    began_s = time.monotonic()
    for event in (stream := from_schema(wanted).execute()):
        if time.monotonic() - began_s > BUDGET_S:
            stream.stop()
        if isinstance(event, NonFatalError):
            wrong.append(f"{event.label}: {event.value!r}")
        if isinstance(event, ScenarioFinished):
            checks = [check for of_case in event.recorder.checks.values() for check in of_case]
            asked |= {event.recorder.label} if checks else set()
            wrong += [
                f"{event.recorder.label}: {check.name}: {check.failure_info.failure}"
                for check in checks
                if check.failure_info is not None
            ]
    return asked, wrong


def _plant(monkeypatch: pytest.MonkeyPatch, path: str, handle: operations.Handle) -> None:
    planted = [
        dataclasses.replace(operation, handle=handle) if operation.path == path else operation
        for operation in operations.OPERATIONS
    ]
    monkeypatch.setattr(app, "OPERATIONS", tuple(planted))


def test_no_question_breaks_the_api_and_every_answer_is_as_documented() -> None:
    with gateway() as address:
        asked, wrong = findings(address, edges=False)
    assert wrong == []
    operations_there = {f"{method.upper()} {path}" for path, item in document()["paths"].items() for method in item}
    assert asked == operations_there, "not all was asked within the time"


def test_no_edge_of_a_parameter_or_a_body_breaks_the_api() -> None:
    with gateway() as address:
        asked, wrong = findings(address, paths=EDGES, examples=1)
    assert wrong == []
    assert len(asked) == len(EDGES) + 1, asked


def test_a_planted_mistake_in_a_handler_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    honest = Desk.search

    async def careless(desk: Desk, asked: Asked) -> msgspec.Struct:
        if asked.text("skill"):
            raise ValueError(asked.text("skill"))
        return await honest(desk, asked)

    _plant(monkeypatch, "/skills/search", careless)
    with gateway() as address:
        _, wrong = findings(address, paths=("/api/v1/skills/search",), examples=60, edges=False)
    assert any("not_a_server_error" in found for found in wrong), wrong


def test_a_planted_answer_of_another_shape_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    class Other(msgspec.Struct):
        as_of: str = "yesterday"
        stale: bool = False

    async def other(_desk: Desk, _asked: Asked) -> msgspec.Struct:
        return Other()

    _plant(monkeypatch, "/regions", other)
    with gateway() as address:
        _, wrong = findings(address, paths=("/api/v1/regions",), examples=3, edges=False)
    assert any("response_schema_conformance" in found for found in wrong), wrong
