"""Frames that come together are one step of a session: nobody can tell it from as many steps as there are frames."""

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from meshnode.kernel.instant import Instant
from meshnode.links.config import HubConfig
from meshnode.links.hello import Hello
from meshnode.links.messages import Post
from meshnode.links.session import RUN_BYTES_MAX, Session, bytes_of_short
from meshnode.model.errors import RemoteError
from meshnode.wire.frame import APART_BYTES, FRAME_BYTES_MAX, Frame, Kind, encode, encode_all, pieces_of, size
from tests.unit.links.pipe import Place, World

NOW = Instant(5_000_000, 0)
LIMITS = {"window_bytes": FRAME_BYTES_MAX, "log_frames_max": 12, "log_bytes_max": FRAME_BYTES_MAX}
STEPS = st.lists(
    st.tuples(
        st.sampled_from(("offer", "offer", "long", "control", "pump", "pump", "ack", "credit", "attach", "got", "got")),
        st.integers(0, 9), st.integers(0, 30),
    ),
    max_size=60,
)  # fmt: skip


def hello(config: HubConfig, received: int, data_got: int, window: int) -> Hello:
    return Hello(
        (1, 1), config.mesh, config.node, config.name, config.region, 1, config.run_id, 1, b"sessions", b"sessions",
        0, received, data_got, window, features=config.features,
    )  # fmt: skip


def offer_each(session: Session, frames: tuple[Frame, ...]) -> list[bool]:
    return [session.offer(frame) for frame in frames]


def offer_run(session: Session, frames: tuple[Frame, ...]) -> list[bool]:
    run_bytes = bytes_of_short(frames)
    if run_bytes and session.offer_run(frames, run_bytes):
        return [True] * len(frames)
    return offer_each(session, frames)


def accept_each(session: Session, first: int, frames: tuple[Frame, ...]) -> list[bool]:
    return [session.accept(first + at, frame, NOW) for at, frame in enumerate(frames)]


def accept_run(session: Session, first: int, frames: tuple[Frame, ...]) -> list[bool]:
    if session.accept_run(first, len(frames), sum(map(size, frames)), NOW):
        return [True] * len(frames)
    return accept_each(session, first, frames)


class Twins:
    """Two sessions that are told the same: one frame by frame, the other in runs where it takes them."""

    def __init__(self) -> None:
        config = Place(1, **LIMITS).config
        self.config = config
        self.sessions = Session(b"sessions", config), Session(b"sessions", config)
        self.sent = self.acked = self.sent_bytes = self.count = 0
        self.limit = 3_000
        self.both(lambda session: session.attach(hello(config, 0, 0, self.limit), 1))

    def both(self, does: Callable[[Session], object]) -> object:
        one, other = (does(session) for session in self.sessions)
        assert one == other
        self.compare()
        return one

    def compare(self) -> None:
        each, runs = self.sessions
        assert each.moved == runs.moved and each.deadline() == runs.deadline() and each.is_empty == runs.is_empty
        assert each.standing() == runs.standing()

    def frames(self, count: int, payload_bytes: int, kind: Kind = Kind.CALL) -> tuple[Frame, ...]:
        self.count += 1
        return tuple(
            Frame(kind, header=b"%d/%d" % (self.count, at), payload=b"x" * payload_bytes) for at in range(count)
        )

    def step(self, what: str, a: int, b: int) -> None:
        match what:
            case "offer" | "long" | "control":
                self._offer(what, a, b)
            case "pump":
                told = [session.pump(NOW) for session in self.sessions]
                assert told[0] == told[1]
                self.sent += len(told[0])
                self.sent_bytes += sum(size(frame) for frame in told[0] if frame.kind is not Kind.CONTROL)
                self.compare()
            case "ack":
                self.acked = min(self.sent, self.acked + b)
                self.both(lambda session: session.acknowledged(self.acked))
            case "credit":
                self.limit += 200 * b
                self.both(lambda session: session.credited(self.limit))
            case "attach":
                received = min(self.sent, self.acked + a)
                self.acked = received
                self.both(lambda session: session.attach(hello(self.config, received, 0, self.limit), 2))
            case _:
                self._got(a, b)

    def _offer(self, what: str, a: int, b: int) -> None:
        kind = Kind.CONTROL if what == "control" else Kind.CALL
        frames = self.frames(1 + a, 40_000 if what == "long" else 40 * b, kind)
        each, runs = self.sessions
        assert offer_each(each, frames) == offer_run(runs, frames)
        self.compare()

    def _got(self, a: int, b: int) -> None:
        """Frames arrive, of which some may have come before."""
        each, runs = self.sessions
        first = max(1, each.received + 1 - (b % 3))
        frames = self.frames(1 + a, 40_000 * (b > 20))
        assert accept_each(each, first, frames) == accept_run(runs, first, frames)
        self.both(lambda session: session.dues(NOW, riding=b % 2 == 0))


@given(script=STEPS)
def test_what_is_offered_or_accepted_in_runs_is_what_would_be_one_by_one(script: list[tuple[str, int, int]]) -> None:
    twins = Twins()
    for what, a, b in script:
        twins.step(what, a, b)
    assert twins.both(lambda session: session.abandon()) is not None


def test_a_run_that_is_acknowledged_in_the_middle_is_sent_again_from_there() -> None:
    session, config = Session(b"sessions", Place(1).config), Place(2).config
    session.attach(hello(config, 0, 0, 1 << 20), 1)
    frames = tuple(Frame(Kind.CALL, payload=b"%d" % number) for number in range(8))
    assert session.offer_run(frames, bytes_of_short(frames))
    assert session.pump(NOW) == list(frames)
    session.acknowledged(3)
    assert session.attach(hello(config, 5, 0, 1 << 20), 2) == list(frames[5:])
    session.acknowledged(8)
    assert session.is_empty


def test_a_session_that_forgets_a_whole_run_with_its_first_frame_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    """The planted fault: what was not acknowledged is not sent again."""

    def forgetful(self: Session, total: int) -> None:
        while self._log and self._log_first <= total:
            frames, run_bytes = self._log.popleft()
            self._log_first += len(frames)
            self._logged -= len(frames)
            self._log_bytes -= run_bytes

    monkeypatch.setattr(Session, "_forget_until", forgetful)
    with pytest.raises((AssertionError, RemoteError)):
        test_a_run_that_is_acknowledged_in_the_middle_is_sent_again_from_there()


def test_what_is_long_or_no_data_is_in_no_run() -> None:
    short = Frame(Kind.CALL, payload=b"x")
    assert bytes_of_short((short, short)) == 2 * size(short)
    assert not bytes_of_short(())
    for other in (Frame(Kind.CALL, payload=b"x" * 20_000), Frame(Kind.EVENT), Frame(Kind.CONTROL), Frame(Kind.PART)):
        assert not bytes_of_short((short, other))
    one = Session(b"sessions", Place(1).config)
    assert not one.offer_run((short,), RUN_BYTES_MAX + 1) and one.is_empty


def test_many_frames_are_encoded_as_each_would_be() -> None:
    frames = [Frame(Kind.CALL, 0, 7, b"\x90", b"1"), Frame(Kind.RESULT, 0, 0, b"", b"")]
    assert encode_all(frames, 1) == [encode(frame, 1) for frame in frames]
    long = Frame(Kind.CHUNK, 0, 1, b"\x90", bytes(APART_BYTES))
    pieces = encode_all([long, *frames], 1)
    assert b"".join(pieces) == b"".join(encode(frame, 1) for frame in (long, *frames))
    assert pieces[1] is long.payload and b"".join(pieces_of(long)) == encode(long)


def test_runs_cross_a_link_that_breaks_in_the_middle_of_them_once_and_in_order() -> None:
    a, b = Place(1), Place(2)
    world = World(a, b)
    near, _ = world.dial(a, b)
    world.run(10_000)
    bodies = [b"%d" % number for number in range(600)]
    for at in range(0, 600, 60):
        world.tell(
            a, Post(b.node, tuple(Frame(Kind.CALL, header=b"\x90", payload=each) for each in bodies[at : at + 60]))
        )
        if at == 240:
            world.reset(near)
            near, _ = world.dial(a, b, dial_no=2, later_us=5_000)
        world.run(700)
    world.run(1_000_000)
    assert b.bodies() == bodies
