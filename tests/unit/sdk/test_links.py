"""Both kinds of endpoint carry the same frames through the same door."""

import asyncio
import os
import tempfile
from pathlib import Path

import msgspec
import pytest
import zmq

from meshnode.sdk.links import TOGETHER, connect
from meshnode.wire.calls import RegisteredHeader, ResultHeader
from meshnode.wire.frame import Frame, FrameReader, Kind, encode
from tests.unit.sdk.daemon_end import DaemonEnd, House, in_loop, pack
from tests.unit.sdk.test_life import counting


async def heard(*, junk: bytes = b"") -> tuple[DaemonEnd, list[Frame], list[str]]:
    """A link that stood: the frames it heard and why it was lost."""
    frames: list[Frame] = []
    lost: list[str] = []
    with tempfile.TemporaryDirectory(prefix="sdk") as directory:
        end = DaemonEnd()
        server = await asyncio.get_running_loop().create_unix_server(lambda: end, f"{directory}/bus")
        gone = asyncio.Event()

        def on_lost(why: str) -> None:
            lost.append(why)
            gone.set()

        link = await connect(f"unix://{directory}/bus", frames.append, on_lost)
        for number in range(3):
            link.send(Frame(Kind.PING, stream=number), Frame(Kind.PONG, stream=number))
        await end.until(lambda: len(end.frames) == 6)
        end.send(Frame(Kind.RESULT, payload=b"x" * 1_000_000), Frame(Kind.PING))
        await asyncio.sleep(0)
        assert end.transport is not None
        if junk:
            end.transport.write(junk)
        else:
            end.transport.close()
        await asyncio.wait_for(gone.wait(), 20)
        await link.close()
        link.send(Frame(Kind.PING))
        await link.close()
        server.close()
    return end, frames, lost


@in_loop
async def test_frames_pass_whole_and_in_order_and_the_first_of_a_turn_leaves_at_once():
    end, frames, lost = await heard()
    assert [(frame.kind, frame.stream) for frame in end.frames] == [
        (kind, number) for number in range(3) for kind in (Kind.PING, Kind.PONG)
    ]
    assert [(frame.kind, len(frame.payload)) for frame in frames] == [(Kind.RESULT, 1_000_000), (Kind.PING, 0)]
    assert lost == ["its socket is closed"]


@in_loop
async def test_junk_loses_the_link_once():
    _, _, lost = await heard(junk=b"\xff" * 100)
    assert lost == ["it sent what is not a frame: frame-too-long"]


@pytest.mark.parametrize("endpoint", ["", "tcp://127.0.0.1:1", "/a/path"])
@in_loop
async def test_an_unknown_kind_of_endpoint_is_refused(endpoint: str):
    with pytest.raises(ValueError, match="unix:// or ipc://"):
        await connect(endpoint, lambda frame: None, lambda why: None)


@in_loop
async def test_nobody_at_the_path_is_an_error_at_once():
    with pytest.raises(OSError, match="No such file"):
        await connect("unix:///no/such/path", lambda frame: None, lambda why: None)


class Router:
    """A daemon's end over ZeroMQ, in a thread: what it must hear and say is one exchange each."""

    def __init__(self, path: str) -> None:
        self.context = zmq.Context()
        self.socket = self.context.socket(zmq.ROUTER)
        self.socket.setsockopt(zmq.LINGER, 0)
        self.socket.bind(path)

    def hear(self) -> tuple[bytes, list[Frame]]:
        assert self.socket.poll(20_000), "nothing came"
        route, data = self.socket.recv_multipart()
        return route, FrameReader().feed(data)

    def say(self, route: bytes, *frames: Frame) -> None:
        self.socket.send_multipart((route, b"".join(map(encode, frames))))

    def close(self) -> None:
        self.socket.close()
        self.context.term()

    def exchange(self) -> tuple[list[Frame], ResultHeader]:
        """Register one agent, restore it, ask it once: the frames of its answer's message, and the answer."""
        route, (registration,) = self.hear()
        assert registration.kind is Kind.REGISTER
        call = pack((os.urandom(16), "tested.count", 5000))
        restore = Frame(Kind.RESTORE, header=pack((True,)), payload=pack([]))
        self.say(
            route,
            Frame(Kind.REGISTERED, header=pack(RegisteredHeader("north"))),
            restore,
            Frame(Kind.CALL, header=call),
        )
        route, frames = self.hear()
        return frames, msgspec.msgpack.decode(frames[-1].header, type=ResultHeader)


@in_loop
async def test_an_agent_works_over_zeromq_and_finds_a_daemon_that_comes_back():
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory(prefix="sdk") as directory:
        path = f"ipc://{directory}/bus"
        here = House("", counting(), extra={"MESHNODE_BUS": path})
        router = Router(path)
        here.start()
        frames, result = await loop.run_in_executor(None, router.exchange)
        assert [frame.kind for frame in frames] == [Kind.STATE, Kind.RESULT] and result.code == ""
        router.close()
        Path(f"{directory}/bus").unlink(missing_ok=True)  # noqa: ASYNC240 - a test
        router = Router(path)
        route, (registration,) = await loop.run_in_executor(None, router.hear)
        assert msgspec.msgpack.decode(registration.header)[6] is True, "it resumes"
        router.say(route, Frame(Kind.REGISTERED, header=pack(RegisteredHeader("north"))))
        _, frames = await loop.run_in_executor(None, router.hear)
        assert [frame.kind for frame in frames] == [Kind.STATE, Kind.RESULT], "it was never kept"
        here.runtime.stop()
        assert here.ended is not None
        await here.ended
        router.close()


@in_loop
async def test_over_zeromq_what_is_alone_leaves_at_once_and_of_many_those_behind_do_not_hold_up_the_first():
    loop = asyncio.get_running_loop()
    with tempfile.TemporaryDirectory(prefix="sdk") as directory:
        path = f"ipc://{directory}/bus"
        router = Router(path)
        link = await connect(path, lambda _: None, lambda _: None)
        link.send(Frame(Kind.PING, stream=1))
        _, alone = router.hear()  # the loop has had no turn since
        for number in range(2, 2 * TOGETHER):
            link.send(Frame(Kind.PING, stream=number), Frame(Kind.PONG, stream=number))
        frames: list[Frame] = []
        while len(frames) < TOGETHER:
            frames += router.hear()[1]
        while len(frames) < 2 * (2 * TOGETHER - 2):
            frames += (await loop.run_in_executor(None, router.hear))[1]
        await link.close()
        router.close()
    assert [(frame.kind, frame.stream) for frame in alone + frames] == [
        (Kind.PING, 1), *((kind, number) for number in range(2, 2 * TOGETHER) for kind in (Kind.PING, Kind.PONG)),
    ]  # fmt: skip
