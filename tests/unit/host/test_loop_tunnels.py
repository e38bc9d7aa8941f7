"""How the loop treats what comes through a tunnel in two halves, and what is written to one."""

from meshnode.host.loop import AGAIN_MAX, FEW, TURN_MAX
from meshnode.kernel.effects import Effect
from meshnode.links.messages import LinkBytes, Transmit
from meshnode.links.tunnelwire import TunnelBytes, TunnelWritten
from meshnode.model.ids import LinkId
from meshnode.node.effects import Exit
from meshnode.node.inputs import Input
from tests.unit.host.test_loop import FRAMES, Stage, event, play

TUNNEL, RELAY, INNER = 1, LinkId(1), LinkId(2)


def answers(given: Input) -> list[Effect]:
    """A node that has one tunnel, and answers whatever comes through it."""
    match given:
        case LinkBytes(link, data):
            return [TunnelBytes(TUNNEL, data)] if link == RELAY else [Transmit(INNER, b"answer to " + data)]
        case TunnelWritten(_, data):
            return [Transmit(RELAY, data)]
        case _:
            return []


def scene_of(halves: int) -> Stage:
    async def scene(stage: Stage) -> None:
        def hand(effect: Effect) -> None:
            if isinstance(effect, TunnelBytes):
                for number in range(halves):
                    stage.driver.tell(LinkBytes(INNER, b"%d" % number))
            elif isinstance(effect, Transmit) and effect.link == INNER:
                stage.driver.tell(TunnelWritten(TUNNEL, effect.data))

        stage.machine.answers, stage.hand = answers, hand
        stage.driver.start()
        stage.driver.tell(LinkBytes(RELAY, b"both"))

    return play(scene)


def test_the_answers_to_the_first_half_have_left_when_the_second_is_looked_at() -> None:
    """Else both ends of a tunnel, and the relay between, would wait for each other in turn."""
    stage = scene_of(FEW)
    assert stage.machine.heard[2:] == ["LinkBytes", "TunnelWritten", "LinkBytes", "TunnelWritten"]
    assert [each.data for each in stage.performed if isinstance(each, Transmit) and each.link == RELAY] == [
        b"answer to 0", b"answer to 1",
    ]  # fmt: skip


def test_of_more_than_halves_all_are_one_turn_and_one_write() -> None:
    stage = scene_of(FEW + 1)
    assert stage.machine.heard[2:] == ["LinkBytes"] * (FEW + 1) + ["TunnelWritten"]
    assert stage.driver.turns == 3


def test_what_is_written_to_a_tunnel_keeps_its_order_whoever_wrote_it_and_however_much_waits() -> None:
    """Effects write, and so do handshakes, outside of any turn: one piece before the other and TLS is broken."""

    async def scene(stage: Stage) -> None:
        def hand(effect: Effect) -> None:
            if isinstance(effect, Exit):
                stage.driver.tell(TunnelWritten(TUNNEL, b"2"))

        stage.machine.answers = lambda given: (
            [Transmit(RELAY, given.data)] if isinstance(given, TunnelWritten) else [Exit(1, "")] * (given == event(1))
        )
        stage.hand = hand
        stage.driver.start()
        stage.tell(1, *[0] * TURN_MAX)
        stage.driver.tell(TunnelWritten(TUNNEL, b"1"))
        await stage.run(1_000)

    written = [each.data for each in play(scene).performed if isinstance(each, Transmit)]
    assert b"".join(written) == b"12"


def test_what_is_written_to_tunnels_for_ever_lets_sockets_have_the_loop_and_none_of_it_is_lost() -> None:
    async def scene(stage: Stage) -> None:
        def hand(effect: Effect) -> None:
            if isinstance(effect, Transmit) and stage.driver.turns < 5 * AGAIN_MAX:
                stage.driver.tell(TunnelWritten(TUNNEL, b"again"))

        stage.machine.answers = lambda given: [Transmit(RELAY, b"")] if type(given) is not type(event(1)) else []
        stage.hand = hand
        stage.driver.start()
        stage.driver.tell(FRAMES)
        stage.tell(1)
        assert stage.driver.turns == 1 + AGAIN_MAX
        await stage.run(1_000)
        assert stage.machine.heard.count("TunnelWritten") == stage.driver.turns - 2
        assert "event 1" in stage.machine.heard

    play(scene)
