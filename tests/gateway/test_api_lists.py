"""Lists: pages that join without seams, filters, fields, and refusals that name the field."""

import pytest

from cloud_gateway.model.listings import LISTINGS
from tests.gateway.api_caller import Room, told

PATHS = {kind: "clusters" if kind == "wishes" else kind for kind in LISTINGS}


async def _all(room: Room, question: str) -> list[dict[str, object]]:
    rows: list[dict[str, object]] = []
    after = ""
    while True:
        answer = await room.api.get(f"/api/v1/{question}{after}")
        assert answer.status == 200, answer.body
        rows += answer.json()["items"]
        if answer.json()["next"] is None:
            return rows
        after = f"&after={answer.json()['next']}"


@pytest.mark.parametrize("sort", ["name", "-name", "cpu_percent", "-rtt_ms", "state"])
def test_pages_of_seven_hold_every_node_once_in_order(sort: str) -> None:
    async def story(room: Room) -> None:
        rows = await _all(room, f"nodes?limit=7&sort={sort}")
        assert len({row["node_id"] for row in rows}) == len(rows) == 24
        column = sort.removeprefix("-")
        values = [row[column] for row in rows]
        assert values == sorted(values, reverse=sort.startswith("-"))  # pyright: ignore

    told(story)


@pytest.mark.parametrize("kind", LISTINGS)
def test_every_list_takes_each_of_its_sorts_and_filters(kind: str) -> None:
    async def story(room: Room) -> None:
        for sort in LISTINGS[kind].sorts:
            answer = await room.api.get(f"/api/v1/{PATHS[kind]}?sort={sort}&limit=3")
            assert answer.status == 200 and set(answer.json()) == {"items", "next", "as_of", "stale"}
        for name in LISTINGS[kind].filters:
            value = "true" if name == "drained" else "nobody"
            answer = await room.api.get(f"/api/v1/{PATHS[kind]}?{name}={value}")
            assert answer.status == 200 and answer.json()["items"] == []

    told(story)


def test_a_filter_given_twice_means_any_of_them() -> None:
    async def story(room: Room) -> None:
        rows = await _all(room, "nodes?region=berlin&region=chicago&limit=5")
        assert {row["region"] for row in rows} == {"berlin", "chicago"}
        assert len(rows) == 16

    told(story)


def test_fields_leave_out_all_but_what_was_asked_and_what_identifies() -> None:
    async def story(room: Room) -> None:
        answer = await room.api.get("/api/v1/nodes?fields=name,region&fields=state&limit=2")
        assert [list(row) for row in answer.json()["items"]] == [["node_id", "name", "region", "state"]] * 2
        agents = await room.api.get("/api/v1/agents?fields=running&limit=1")
        assert list(agents.json()["items"][0]) == ["agent", "running"]

    told(story)


REFUSED = [
    ("nodes?colour=red", "colour", "limit, after, sort, q, fields, name, region, state, path, drained"),
    ("nodes?limit=0", "limit", "between 1 and 500"),
    ("nodes?limit=501", "limit", "between 1 and 500"),
    ("nodes?limit=ten", "limit", "between 1 and 500"),
    ("nodes?limit=1&limit=2", "limit", "given twice"),
    ("nodes?sort=colour", "sort", "cpu_percent"),
    ("nodes?fields=name,colour", "fields", "node_id"),
    ("nodes?drained=perhaps", "drained", "true, false"),
    ("nodes?q=a%00b", "q", "NUL"),
    ("nodes?q=" + "x" * 1_025, "q", "longer than 1024"),
    ("nodes?" + "&".join(["region=x"] * 51), "region", "more than 50"),
    ("nodes?after=AAAA", "after", "not the next of this list"),
    ("nodes?after=%2e%2e", "after", "not the next of this list"),
    ("overview?limit=3", "limit", "none here"),
    ("journal", "node", "is needed"),
    ("watch?kinds=nodes,colours", "kinds", "instances"),
    ("skills/search?where=gpu_mem>=", "", "constraint"),
    ("nodes/alpha/load?from=20&to=10", "from", "before to"),
    ("nodes/alpha/load?from=0&to=9007199254740991&step=1000", "step", "too small"),
    ("agents/words?name=x", "name", "path says it"),
]


@pytest.mark.parametrize(("question", "field", "says"), REFUSED)
def test_what_cannot_be_asked_is_refused_with_the_field_and_a_way_out(question: str, field: str, says: str) -> None:
    async def story(room: Room) -> None:
        answer = await room.api.get(f"/api/v1/{question}")
        problem = answer.json()
        assert answer.status == problem["status"] == 400
        assert answer.headers["content-type"] == "application/problem+json"
        assert problem.get("field", "") == field and says in problem["detail"], problem
        assert problem["code"] == "invalid" and problem["next_step"] and problem["title"]

    told(story)


def test_a_cursor_is_good_for_its_own_question_only() -> None:
    async def story(room: Room) -> None:
        cursor = (await room.api.get("/api/v1/nodes?limit=3&region=berlin")).json()["next"]
        same = await room.api.get(f"/api/v1/nodes?limit=5&region=berlin&fields=name&after={cursor}")
        assert same.status == 200
        for other in ("nodes?region=chicago", "nodes?region=berlin&sort=-name", "instances?region=berlin", "events?a"):
            answer = await room.api.get(f"/api/v1/{other}&after={cursor}")
            assert answer.status == 400, other

    told(story)


def test_no_changed_letter_of_a_cursor_is_taken() -> None:
    async def story(room: Room) -> None:
        cursor = (await room.api.get("/api/v1/nodes?limit=3")).json()["next"]
        for at in range(len(cursor) - 1):  # the last letter may carry bits that no byte has
            changed = cursor[:at] + ("A" if cursor[at] != "A" else "B") + cursor[at + 1 :]
            assert (await room.api.get(f"/api/v1/nodes?limit=3&after={changed}")).status == 400, at

    told(story)


def test_another_token_makes_other_cursors() -> None:
    async def story(room: Room) -> None:
        cursor = (await room.api.get("/api/v1/nodes?limit=3")).json()["next"]
        other = Room(room.store, token="another-token-of-enough-letters")
        assert (await other.api.get(f"/api/v1/nodes?limit=3&after={cursor}")).status == 400
        same = Room(room.store)
        assert (await same.api.get(f"/api/v1/nodes?limit=3&after={cursor}")).status == 200

    told(story)
