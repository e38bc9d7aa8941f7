"""The document says what the API does: every route, every parameter, and examples that fit their own schemas."""

import re

import jsonschema_rs
import msgspec
import pytest

from cloud_gateway.api.meter import METRICS_TYPE
from cloud_gateway.api.openapi import document
from cloud_gateway.model.listings import LISTINGS
from cloud_gateway.model.rows import JsonObject
from tests.gateway.api_caller import BEARER, JSON, Room, told

DOCUMENT = document()
OPERATIONS = [(path, method) for path, item in DOCUMENT["paths"].items() for method in item]


def _whole(schema: JsonObject) -> JsonObject:
    return {**schema, "components": DOCUMENT["components"]}


def _answers(operation: JsonObject) -> list[tuple[str, JsonObject]]:
    return [
        (media, content)
        for response in operation["responses"].values()
        for media, content in response.get("content", {}).items()
    ]


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation_has_an_example_that_fits_its_schema(path: str, method: str) -> None:
    operation = DOCUMENT["paths"][path][method]
    contents = [content for media, content in _answers(operation) if media == "application/json"]
    assert all("example" in content for content in contents)
    body = operation.get("requestBody", {}).get("content", {}).get("application/json")
    for content in [*contents, *([body] if body else [])]:
        jsonschema_rs.validate(_whole(content["schema"]), content["example"])


@pytest.mark.parametrize(("path", "method"), OPERATIONS)
def test_every_operation_says_which_refusals_there_are_and_has_words_of_its_own(path: str, method: str) -> None:
    operation = DOCUMENT["paths"][path][method]
    assert {"400", "401", "403", "421", "429", "500", "503"} <= set(operation["responses"])
    assert operation["summary"] and operation["operationId"]
    for parameter in operation.get("parameters", []):
        assert parameter["description"] and parameter["schema"], parameter
    in_path = set(re.findall(r"{(\w+)}", path))
    assert in_path == {p["name"] for p in operation.get("parameters", []) if p["in"] == "path"}


def test_ids_of_operations_are_unique() -> None:
    ids = [DOCUMENT["paths"][path][method]["operationId"] for path, method in OPERATIONS]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize("kind", LISTINGS)
def test_every_filter_and_sort_of_a_list_is_documented(kind: str) -> None:
    path = "clusters" if kind == "wishes" else kind
    parameters = {p["name"]: p for p in DOCUMENT["paths"][f"/api/v1/{path}"]["get"]["parameters"]}
    assert {*LISTINGS[kind].filters, "limit", "after", "sort", "q", "fields"} == set(parameters)
    assert set(LISTINGS[kind].sorts) <= set(parameters["sort"]["schema"]["enum"])


def test_every_documented_path_is_served_and_fits_what_is_said_of_it() -> None:
    async def story(room: Room) -> None:
        node = room.fleet.nodes[0].name
        unit = room.fleet.instances[0]
        posted = await room.api.post({"verb": "drain", "body": {"node": node}})
        names = {"name": node, "agent": unit.agent, "slot": unit.instance.split("/")[1], "kind": "AgentCluster",
                 "namespace": "default", "subject": f"node/{node}",
                 "command_id": posted.json()["item"]["command_id"]}  # fmt: skip
        for path, method in OPERATIONS:
            if method != "get" or path.endswith("/watch"):
                continue
            given = {**names, "name": unit.agent} if "/agents/" in path or "/clusters/" in path else names
            question = path.format(**given) + (f"?node={node}" if path.endswith("journal") else "")
            answer = await room.api.get(question)
            assert answer.status == 200, (question, answer.body)
            content = DOCUMENT["paths"][path]["get"]["responses"]["200"]["content"]
            media = answer.headers["content-type"].partition(";")[0]
            assert media in content
            if media == "application/json":
                jsonschema_rs.validate(_whole(content[media]["schema"]), answer.json())

    told(story)


def test_the_document_is_served_and_refusals_fit_it() -> None:
    async def story(room: Room) -> None:
        served = await room.api.get("/api/v1/openapi.json")
        assert served.body == msgspec.json.encode(DOCUMENT)
        schema = _whole({"$ref": "#/components/schemas/Problem"})
        for refused in (await room.api.get("/api/v1/nodes?x=1"), await room.api.get("/nothing"),
                        await room.api.post({}, JSON), await room.api.post({}, BEARER)):  # fmt: skip
            assert refused.status >= 400
            jsonschema_rs.validate(schema, refused.json())

    told(story)


SAMPLE = re.compile(r'[a-z_:][a-z0-9_:]*(\{(?:[a-z_]+="(?:[^"\\\n]|\\.)*",?)*\})? -?[0-9.e+-]+(?:inf|nan)?')


def test_metrics_are_in_prometheus_text_format_and_count_what_happened() -> None:
    async def story(room: Room) -> None:
        for _ in range(3):
            await room.api.get("/api/v1/nodes")
        await room.api.get("/api/v1/nodes?x=1")
        await room.api.ask('BREW"\n', "/nothing", headers=BEARER)
        answer = await room.api.get("/metrics")
        assert answer.headers["content-type"] == METRICS_TYPE
        lines = answer.body.decode().split("\n")
        assert lines[-1] == ""
        declared: list[str] = []
        for line in lines[:-1]:
            if line.startswith("# TYPE "):
                declared.append(line.split()[2])
            elif not line.startswith("# HELP "):
                assert SAMPLE.fullmatch(line), line
                assert line.startswith(declared[-1]), "samples stand behind their own declaration"
        assert len(set(declared)) == len(declared)
        told_of = 'route="/api/v1/nodes",method="GET",status='
        assert f'meshnode_gateway_requests_total{{{told_of}"200"}} 3' in lines
        assert f'meshnode_gateway_requests_total{{{told_of}"400"}} 1' in lines
        assert 'meshnode_gateway_requests_total{route="other",method="other",status="404"} 1' in lines
        assert 'meshnode_gateway_request_seconds_count{route="/api/v1/nodes"} 4' in lines
        assert 'meshnode_gateway_request_seconds_bucket{route="/api/v1/nodes",le="+Inf"} 4' in lines
        assert "meshnode_gateway_store_events 300" in lines and "meshnode_gateway_store_up 1" in lines
        assert "meshnode_gateway_source_lag_seconds 0" in lines

    told(story)
