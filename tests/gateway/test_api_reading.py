"""Answers beside the lists: glances, single rows, history, what the mesh is asked, and how old all that is."""

import asyncio
import gzip

from cloud_gateway.model.batch import Batch
from meshnode.model.view_parts import LinkView
from meshnode.model.views import WhyView
from tests.gateway.api_caller import NOW_MS, Room, told, until


def test_everything_says_as_of_when_it_is_and_that_grows_stale() -> None:
    async def story(room: Room) -> None:
        node = room.fleet.nodes[0].name
        for path in ("overview", "regions", "grid", "nodes", "agents", "events", f"journal?node={node}",
                     f"nodes/{node}", f"nodes/{node}/load", "skills/search", "clusters"):  # fmt: skip
            answer = (await room.api.get(f"/api/v1/{path}")).json()
            assert (answer["as_of"], answer["stale"]) == (NOW_MS, False), path
            room.clock = NOW_MS + 15_001
            assert (await room.api.get(f"/api/v1/{path}")).json()["stale"] is True, path
            room.clock = NOW_MS

    told(story)


def test_a_source_with_a_problem_is_stale_however_young() -> None:
    async def story(room: Room) -> None:
        await room.store.commit(Batch(source=room.source(problem="beta is out of reach")))
        await until(lambda: room.gateway.feed.commits > 0)
        answer = (await room.api.get("/api/v1/overview")).json()
        assert answer["stale"] is True and answer["source"]["problem"] == "beta is out of reach"

    told(story)


def test_the_overview_puts_errors_first() -> None:
    async def story(room: Room) -> None:
        answer = (await room.api.get("/api/v1/overview")).json()
        assert sum(answer["nodes"].values()) == 24 and sum(answer["instances"].values()) == 96
        severities = [row["severity"] for row in answer["problems"]]
        assert severities == sorted(severities)
        assert {region["region"] for region in answer["regions"]} == {"amsterdam", "berlin", "chicago"}

    told(story)


def test_a_grid_that_did_not_change_is_not_sent_again() -> None:
    async def story(room: Room) -> None:
        first = await room.api.get("/api/v1/grid")
        tag = first.headers["etag"]
        assert len(first.json()["regions"]["berlin"]) == 8
        room.clock += 60_000  # older, and the same
        again = await room.api.get("/api/v1/grid", If_None_Match=f'"x", {tag}')
        assert (again.status, again.body, again.headers["etag"]) == (304, b"", tag)
        gone = room.fleet.nodes[0].node_id
        await room.store.commit(Batch(gone={"nodes": [(gone,)]}))
        assert (await room.api.get("/api/v1/grid", If_None_Match=tag)).status == 200

    told(story)


def test_an_overview_that_was_only_proven_anew_is_not_sent_again() -> None:
    async def story(room: Room) -> None:
        tag = (await room.api.get("/api/v1/overview")).headers["etag"]
        room.clock += 5_000
        await room.store.commit(Batch(source=room.source()))
        await until(lambda: room.gateway.feed.commits > 0)
        changed = (await room.api.get("/api/v1/overview")).headers["etag"]
        room.clock += 5_000
        await room.store.commit(Batch(source=room.source()))
        await until(lambda: room.gateway.feed.commits > 1)
        assert changed != tag  # another node is the source now
        assert (await room.api.get("/api/v1/overview", If_None_Match=changed)).status == 304

    told(story)


def test_who_asks_at_the_same_time_shares_one_answer() -> None:
    async def story(room: Room) -> None:
        room.store.slow_s = 0.05
        async with asyncio.TaskGroup() as tasks:
            answers = [tasks.create_task(room.api.get("/api/v1/grid")) for _ in range(20)]
        assert {answer.result().status for answer in answers} == {200}
        assert room.store.asked["grid"] == 1
        await room.api.get("/api/v1/grid")
        assert room.store.asked["grid"] == 2

    told(story)


def test_large_answers_are_packed_for_those_who_take_that() -> None:
    async def story(room: Room) -> None:
        plain = await room.api.get("/api/v1/nodes", Accept_Encoding="identity, gzip;q=0")
        packed = await room.api.get("/api/v1/nodes", Accept_Encoding="br, gzip")
        assert "content-encoding" not in plain.headers and packed.headers["content-encoding"] == "gzip"
        assert gzip.decompress(packed.body) == plain.body and len(packed.body) < len(plain.body) / 2
        assert packed.headers["vary"] == plain.headers["vary"] == "Accept-Encoding"
        small = await room.api.get("/api/v1/gaps", Accept_Encoding="gzip")
        assert "content-encoding" not in small.headers

    told(story)


def test_one_node_is_found_by_its_name_and_by_its_id() -> None:
    async def story(room: Room) -> None:
        node = room.fleet.nodes[3]
        for name in (node.name, node.node_id):
            assert (await room.api.get(f"/api/v1/nodes/{name}")).json()["item"]["node_id"] == node.node_id
        missing = await room.api.get("/api/v1/nodes/nobody")
        assert missing.status == 404 and missing.json()["code"] == "not-found"

    told(story)


def test_a_unit_that_two_nodes_run_has_two_rows_and_no_namesake() -> None:
    async def story(room: Room) -> None:
        unit = room.fleet.instances[0]
        agent, slot = unit.instance.split("/")
        twin = type(unit)(instance=unit.instance, agent=agent, node="elsewhere")
        longer = type(unit)(instance=unit.instance + "0", agent=agent, node="elsewhere")
        await room.store.commit(Batch(rows={"instances": [twin, longer]}))
        items = (await room.api.get(f"/api/v1/instances/{agent}/{slot}")).json()["items"]
        assert {row["node"] for row in items} == {unit.node, "elsewhere"}
        assert {row["instance"] for row in items} == {unit.instance}
        assert (await room.api.get(f"/api/v1/instances/{agent}/none")).status == 404

    told(story)


def test_agents_are_their_units_together() -> None:
    async def story(room: Room) -> None:
        listed = (await room.api.get("/api/v1/agents?limit=2")).json()
        assert [row["agent"] for row in listed["items"]] == ["inspector", "planner"]
        more = (await room.api.get(f"/api/v1/agents?limit=2&after={listed['next']}")).json()
        assert [row["agent"] for row in more["items"]] == ["watcher", "words"]
        one = (await room.api.get("/api/v1/agents/words")).json()["item"]
        assert one["instances"] == one["nodes"] == 24
        assert (await room.api.get("/api/v1/agents/nobody")).status == 404

    told(story)


def test_one_wish_and_one_request_are_found_by_their_keys() -> None:
    async def story(room: Room) -> None:
        wish = await room.api.get("/api/v1/clusters/AgentCluster/default/words")
        assert wish.json()["item"]["wanted"] > 0
        for path in ("clusters/AgentCluster/default/nobody", "commands/nothing"):
            assert (await room.api.get(f"/api/v1/{path}")).status == 404

    told(story)


def test_events_are_newest_first_and_pages_join() -> None:
    async def story(room: Room) -> None:
        seen: list[tuple[object, object]] = []
        after = ""
        while True:
            page = (await room.api.get(f"/api/v1/events?limit=70{after}")).json()
            seen += [(row["node_id"], row["number"]) for row in page["items"]]
            if page["next"] is None:
                break
            after = f"&after={page['next']}"
        assert len(set(seen)) == len(seen) == 300
        few = (await room.api.get("/api/v1/events?region=berlin&subject=agent/&q=PID&limit=500")).json()["items"]
        assert few and all(row["region"] == "berlin" and "pid" in row["text"] for row in few)

    told(story)


def test_a_journal_is_oldest_first_and_goes_on() -> None:
    async def story(room: Room) -> None:
        node = room.fleet.nodes[0].name
        page = (await room.api.get(f"/api/v1/journal?node={node}&limit=2")).json()
        assert [row["number"] for row in page["items"]] == [1, 2] and page["gaps"] == []
        more = (await room.api.get(f"/api/v1/journal?node={node}&limit=500&after={page['next']}")).json()
        assert more["items"][0]["number"] == 3 and more["next"] is None
        assert (await room.api.get("/api/v1/journal?node=nobody")).status == 404

    told(story)


def test_load_has_points_of_every_measure_that_was_told() -> None:
    async def story(room: Room) -> None:
        node = room.fleet.nodes[0].name
        answer = (await room.api.get(f"/api/v1/nodes/{node}/load?to={NOW_MS + 1}")).json()
        assert set(answer["measures"]) == {"cpu", "memory", "load"} and answer["step_ms"] == 60_000
        at_ms, low, mean, high = answer["measures"]["cpu"][0]
        assert at_ms <= NOW_MS and low <= mean <= high

    told(story)


def test_what_only_the_mesh_knows_is_asked_of_it() -> None:
    async def story(room: Room) -> None:
        node = room.fleet.nodes[0].name
        links = (await room.api.get(f"/api/v1/nodes/{node}/links")).json()
        assert links["items"] and not links["more"] and links["as_of"] == room.clock
        story_of = (await room.api.get(f"/api/v1/why/node/{node}")).json()
        assert story_of["item"]["subject"] == f"node/{node}"
        assert (await room.api.get("/api/v1/why/nothing")).status == 404

    told(story)


def test_a_gateway_without_its_node_says_so_where_it_would_have_to_ask() -> None:
    async def story(room: Room) -> None:
        answer = await room.api.get("/api/v1/why/node/alpha")
        assert answer.status == 503 and answer.json()["code"] == "offline" and answer.headers["retry-after"]

    told(story, mesh=False)


class _Crowded:
    """A node with more links than are told, and a story that takes its time."""

    async def links(self, node: str) -> list[LinkView]:
        return [LinkView(peer=f"p{at}", region="", kind="peer") for at in range(301)]

    async def why(self, subject: str) -> WhyView:
        await asyncio.Event().wait()
        raise AssertionError


def test_more_than_300_links_are_cut_and_that_is_said() -> None:
    async def story(room: Room) -> None:
        links = (await room.api.get("/api/v1/nodes/any/links")).json()
        assert len(links["items"]) == 300 and links["more"] is True

    told(story, door=_Crowded())


def test_a_mesh_that_does_not_answer_is_not_waited_for() -> None:
    async def story(room: Room) -> None:
        answer = await room.api.get("/api/v1/why/node/alpha")
        assert answer.status == 504 and answer.json()["code"] == "timeout"

    told(story, door=_Crowded(), mesh_timeout_s=0.02)
