"""The live feed: told at once, together when busy, once per filter, resumable, and never an unbounded buffer."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from cloud_gateway.api import feed as feed_room
from cloud_gateway.api.feed import Reader
from cloud_gateway.api.frames import Gathered, Wanted, changed_frame
from cloud_gateway.api.settings import ApiSettings
from cloud_gateway.model.batch import Batch, Changes
from cloud_gateway.model.rows import EventRow, GapRow, InstanceRow, NodeRow, ProblemRow
from tests.gateway.api_caller import HOST, Room, Told, told, until
from tests.gateway.api_kit import TOKEN

SETTINGS = ApiSettings(hosts=frozenset({HOST}), token=TOKEN)


def node(name: str, region: str = "berlin", cpu: float = 1.0) -> NodeRow:
    return NodeRow(node_id=f"id-{name}", name=name, region=region, cpu_percent=cpu)


async def named(stream: AsyncIterator[Told], name: str) -> Told:
    async for event in stream:
        if event.name == name:
            return event
    raise AssertionError(f"the stream ended without {name}")


def test_hello_comes_first_then_what_changes() -> None:
    async def story(room: Room) -> None:
        async with room.api.watch() as stream:
            hello = await anext(stream)
            assert hello.name == "hello" and set(hello.data) == {"seq", "as_of", "stale", "source"}
            await room.store.commit(Batch(rows={"nodes": [node("alpha")]}, gone={"skills": [("s", "a", "n")]}))
            changed = await anext(stream)
            assert changed.name == "changed" and set(changed.data) == {"seq", "at_ms", "rows", "gone", "events"}
            assert changed.event_id.split("-")[0] == str(changed.data["seq"]) == str(room.store.seq)
            assert changed.data["rows"]["nodes"][0]["name"] == "alpha"
            assert changed.data["gone"] == {"skills": [["s", "a", "n"]]}

    told(story)


def test_a_quiet_feed_tells_at_once_and_a_busy_one_gathers() -> None:
    async def story(room: Room) -> None:
        async with room.api.watch("?kinds=nodes") as stream:
            await anext(stream)
            for cpu in range(1, 21):  # the first is told at once; the others come while the feed rests
                await room.store.commit(Batch(rows={"nodes": [node("alpha", cpu=cpu)]}))
                await asyncio.sleep(0)
            first, second = await anext(stream), await anext(stream)
            assert first.data["rows"]["nodes"][0]["cpu_percent"] < 20
            assert [row["cpu_percent"] for row in second.data["rows"]["nodes"]] == [20]

    told(story)


FILTERS = [
    ("?kinds=nodes", {"nodes": ["alpha", "beta"]}),
    ("?kinds=nodes,problems", {"nodes": ["alpha", "beta"], "problems": ["on fire"]}),
    ("?kinds=nodes&kinds=events", {"nodes": ["alpha", "beta"], "events": ["alpha"]}),
    ("?region=dock", {"nodes": ["beta"], "instances": ["beta"], "problems": ["on fire"], "gaps": ["alpha"]}),
    ("?node=alpha", {"nodes": ["alpha"], "events": ["alpha"], "problems": ["on fire"], "gaps": ["alpha"]}),
]


@pytest.mark.parametrize(("query", "expected"), FILTERS)
def test_a_reader_is_told_what_it_asked_for(query: str, expected: dict[str, list[str]]) -> None:
    async def story(room: Room) -> None:
        async with room.api.watch(query) as stream:
            await anext(stream)
            await room.store.commit(_mixed())
            data = (await anext(stream)).data
            shown = {
                kind: [row.get("node") or row.get("name") or row["text"] for row in rows]
                for kind, rows in {**data["rows"], "events": data["events"]}.items()
                if rows
            }
            assert shown == expected

    told(story)


def _mixed() -> Batch:
    event = EventRow(
        node_id="a", node="alpha", region="berlin", life=1, boot=1, number=1, at_ms=1, subject="s", text="t"
    )
    gap = GapRow(node_id="a", node="alpha", life=1, first=1, last=2, count=2, why="w", noticed_ms=1)
    return Batch(
        rows={
            "nodes": [node("alpha"), node("beta", "dock")],
            "instances": [InstanceRow(instance="w/0", agent="w", node="beta", region="dock")],
            "problems": [ProblemRow(text="on fire")],
            "gaps": [gap],
        },
        events=[event],
    )


def test_fields_make_frames_small() -> None:
    async def story(room: Room) -> None:
        async with room.api.watch("?kinds=nodes&fields=cpu_percent,state") as stream:
            await anext(stream)
            await room.store.commit(Batch(rows={"nodes": [node("alpha")]}))
            row = (await anext(stream)).data["rows"]["nodes"][0]
            assert row == {"node_id": "id-alpha", "cpu_percent": 1.0, "state": "ready"}

    told(story)


def test_readers_with_the_same_filters_share_one_encoded_frame(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[Wanted] = []

    def counted(gathered: Gathered, wanted: Wanted, run: str) -> bytes:
        made.append(wanted)
        return changed_frame(gathered, wanted, run)

    monkeypatch.setattr(feed_room, "changed_frame", counted)

    async def story(room: Room) -> None:
        feed = room.gateway.feed
        readers = [feed.enter("c", Wanted(kinds=("nodes",)), "") for _ in range(50)]
        readers += [feed.enter("c", Wanted(kinds=("events",)), "")]
        await room.store.commit(Batch(rows={"nodes": [node("alpha")]}))
        frames = [await reader.take() for reader in readers[:50]]
        assert len({id(frame) for frame in frames}) == 1 and len(made) == 2

    told(story)


def test_who_was_away_for_a_moment_gets_what_it_missed_and_nothing_twice() -> None:
    async def story(room: Room) -> None:
        async with room.api.watch("?kinds=nodes") as stream:
            await anext(stream)
            await room.store.commit(Batch(rows={"nodes": [node("alpha")]}))
            last = (await anext(stream)).event_id
        for name in ("beta", "gamma"):
            await room.store.commit(Batch(rows={"nodes": [node(name)], "skills": []}))
        await until(lambda: room.gateway.feed.seq == room.store.seq)
        async with room.api.watch("?kinds=nodes", Last_Event_ID=last) as stream:
            assert (await anext(stream)).name == "hello"
            names: list[str] = []
            while names[-1:] != ["gamma"]:
                names += [row["name"] for row in (await named(stream, "changed")).data["rows"]["nodes"]]
            assert names == ["beta", "gamma"]

    told(story)


def test_a_line_that_breaks_before_the_first_change_is_taken_up_where_it_began() -> None:
    async def story(room: Room) -> None:
        await room.store.commit(Batch(rows={"nodes": [node("alpha")]}))
        await until(lambda: room.gateway.feed.seq == room.store.seq)
        async with room.api.watch() as stream:
            first = (await anext(stream)).event_id
        await room.store.commit(Batch(rows={"nodes": [node("beta")]}))
        await until(lambda: room.gateway.feed.seq == room.store.seq)
        async with room.api.watch(Last_Event_ID=first) as stream:
            again = await anext(stream)
            assert (again.name, again.event_id) == ("hello", "")
            assert [row["name"] for row in (await anext(stream)).data["rows"]["nodes"]] == ["beta"]

    told(story)


def test_nothing_missed_is_nothing_told() -> None:
    async def story(room: Room) -> None:
        async with room.api.watch() as stream:
            await anext(stream)
            await room.store.commit(Batch(rows={"nodes": [node("alpha")]}))
            last = (await anext(stream)).event_id
        async with room.api.watch(Last_Event_ID=last) as stream:
            await anext(stream)
            await room.store.commit(Batch(rows={"nodes": [node("beta")]}))
            assert (await anext(stream)).data["rows"]["nodes"][0]["name"] == "beta"

    told(story)


@pytest.mark.parametrize("last", ["1-{run}", "999999-{run}", "{seq}-00000000", "{seq}", "x", "-1", "1" * 60, "9" * 19])
def test_who_cannot_be_told_all_it_missed_must_ask_anew(last: str) -> None:
    async def story(room: Room) -> None:
        await room.store.commit(Batch(rows={"nodes": [node("alpha")]}))
        async with room.api.watch() as stream:
            await room.store.commit(Batch(rows={"nodes": [node("beta")]}))
            seq, run = (await named(stream, "changed")).event_id.split("-")
        async with room.api.watch(Last_Event_ID=last.format(seq=seq, run=run)) as stream:
            assert [(await anext(stream)).name for _ in range(2)] == ["hello", "reset"]

    told(story)


def test_the_ring_is_bounded_and_forgets_the_oldest() -> None:
    async def story(room: Room) -> None:
        feed = room.gateway.feed
        first = ""
        async with room.api.watch() as stream:
            await anext(stream)
            for number in range(8):
                await room.store.commit(Batch(rows={"nodes": [node(f"n{number}{at}") for at in range(5)]}))
                first = first or (await anext(stream)).event_id
                await until(lambda: feed.seq == room.store.seq)
        assert len(feed._ring) == 4 and feed._ring_rows == 20
        async with room.api.watch(Last_Event_ID=first) as stream:
            assert [(await anext(stream)).name for _ in range(2)] == ["hello", "reset"]

    told(story, ring_rows_max=20, gather_s=0.0)


def test_a_reader_that_does_not_read_gets_reset_instead_of_a_growing_buffer() -> None:
    async def story(room: Room) -> None:
        reader = room.gateway.feed.enter("slow", Wanted(), "")
        for number in range(30):
            await room.store.commit(Batch(rows={"nodes": [node(f"n{number}")]}))
            await until(lambda: room.gateway.feed.seq == room.store.seq)
        told_late = await reader.take()
        assert told_late.startswith(b"event: reset") and told_late.count(b"event: changed") < 5
        assert room.gateway.feed.resets == reader.resets > 0
        await room.store.commit(Batch(rows={"nodes": [node("last")]}))
        assert b'"last"' in await reader.take()

    told(story, reader_frames_max=5, gather_s=0.0)


def test_bytes_that_wait_for_a_reader_are_bounded_too() -> None:
    reader = Reader("c", Wanted(), SETTINGS)
    for _ in range(9):
        reader.put(b"x" * 512 * 1024)
    assert reader.resets == 1

    async def taken() -> bytes:
        return await reader.take()

    assert asyncio.run(taken()).startswith(b"event: reset")


def test_more_changes_than_a_frame_may_hold_are_a_reset() -> None:
    async def story(room: Room) -> None:
        async with room.api.watch("?kinds=events") as stream:
            await anext(stream)
            await room.store.commit(Batch(rows={"nodes": [node(str(at)) for at in range(101)]}))
            assert (await anext(stream)).name == "reset"
            room.gateway.feed._pending.add(Changes(seq=room.store.seq + 1, at_ms=1, whole=False))
            room.gateway.feed._news.set()
            assert (await anext(stream)).name == "reset"

    told(story, frame_rows_max=100)


def test_a_row_that_went_and_came_back_is_there_and_one_that_came_and_went_is_gone() -> None:
    gathered = Gathered(100)
    gathered.add(Changes(seq=5, at_ms=1, rows={"nodes": [node("a"), node("b")]}))
    gathered.add(Changes(seq=6, at_ms=2, gone={"nodes": [("id-a",), ("id-b",)]}))
    gathered.add(Changes(seq=7, at_ms=3, rows={"nodes": [node("b", cpu=9)]}))
    assert (gathered.first, gathered.seq, gathered.size) == (5, 7, 2)
    assert list(gathered.rows["nodes"]) == [("id-b",)] and list(gathered.gone["nodes"]) == [("id-a",)]


def test_beats_say_how_old_the_picture_is_and_move_readers_on() -> None:
    async def story(room: Room) -> None:
        async with room.api.watch("?kinds=gaps") as stream:
            hello = await anext(stream)
            room.clock += 60_000
            await room.store.commit(Batch(rows={"nodes": [node("alpha")]}))
            beat = await anext(stream)
            while beat.event_id.split("-")[0] != str(room.store.seq):
                beat = await named(stream, "beat")
            assert set(beat.data) == {"as_of", "stale", "problem"} and beat.data["stale"] is True
            assert hello.data["stale"] is False
        async with room.api.watch("?kinds=gaps", Last_Event_ID=beat.event_id) as stream:
            assert (await anext(stream)).name == "hello" and (await anext(stream)).name == "beat"

    told(story, beat_s=0.02)


def test_readers_are_bounded_in_all_and_by_client() -> None:
    async def story(room: Room) -> None:
        async with room.api.watch() as one, room.api.watch() as two:
            await anext(one), await anext(two)
            third = await room.api.get("/api/v1/watch")
            assert third.status == 429 and third.headers["retry-after"] and "2 readers" in third.json()["detail"]
        await until(lambda: room.gateway.feed.readers == 0)
        async with room.api.watch() as again:
            assert (await anext(again)).name == "hello"
        assert not room.gateway.feed._channels or room.gateway.feed.readers

    told(story, readers_client_max=2)


def test_streams_end_when_the_gateway_does_and_none_begins() -> None:
    async def story(room: Room) -> None:
        async with room.api.watch() as stream:
            await anext(stream)
            room.gateway.close()
            assert [event async for event in stream] == []
            assert (await room.api.get("/api/v1/watch")).status == 429

    told(story)


def test_a_reader_that_takes_nothing_for_too_long_is_cut_off() -> None:
    async def story(room: Room) -> None:
        async def receive() -> dict[str, object]:
            await asyncio.Event().wait()
            raise AssertionError

        async def send(message: dict[str, object]) -> None:
            if message["type"] == "http.response.body":
                await asyncio.Event().wait()

        await room.gateway.app(room.api._scope("GET", "/api/v1/watch", {}, HOST), receive, send)  # pyright: ignore
        assert room.gateway.feed.readers == 0

    told(story, reader_stuck_s=0.02)


def test_a_store_that_loses_its_voice_makes_readers_ask_anew() -> None:
    async def story(room: Room) -> None:
        async with room.api.watch() as stream:
            await anext(stream)
            room.store.silent = True
            await room.store.commit(Batch(rows={"nodes": [node("alpha")]}))
            assert (await anext(stream)).name == "reset"
            assert not room.gateway.feed.listening
            assert any("not told" in reason for reason in (await room.api.get("/healthz")).json()["reasons"])

    told(story)
