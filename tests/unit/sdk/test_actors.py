"""Many instances in one process: their states, turns and hooks, over a real socket."""

import pytest

from meshnode.sdk import Agent, Ctx, Restored
from meshnode.sdk.connection import Ended
from meshnode.wire.frame import Kind
from meshnode.wire.state import Change, Op, RestoredCell
from tests.unit.sdk.daemon_end import at_work, house, in_loop
from tests.unit.sdk.test_life import counting


@in_loop
async def test_actors_have_their_own_states_turns_and_keys_and_idle_ones_are_taken_first():
    agent = Agent("tested", tier="actor")
    restored: list[int] = []

    @agent.on_restore
    async def hook(ctx: Ctx, told: Restored) -> None:
        restored.append(ctx.slot)

    @agent.skill
    async def count(ctx: Ctx) -> str:
        ctx.state.counter("hits").add(1)
        ctx.session("bench").counter("hits").add(1)
        return f"{ctx.instance} {ctx.state.counter('hits').value}"

    async with at_work(agent, RestoredCell("\x1d2\x1dhits", b"10", counter=True), slots=3) as end:
        for slot, words in ((2, "tested/2 11"), (2, "tested/2 12"), (0, "tested/0 1")):
            end.ask("tested.count", slot=slot)
            header, value = await end.result()
            assert value == words and header.instance == f"tested/{slot}"
        assert (await end.state())[1] == [
            Change("\x1d2\x1dhits", Op.ADD, amount=1),
            Change("\x1d2\x1d\x1ebench\x1ehits", Op.ADD, amount=1),
        ]
        for _ in range(3):
            end.ask("tested.count")
        slots = [str((await end.result())[1]).split()[0] for _ in range(3)]
        assert sorted(slots) == ["tested/0", "tested/1", "tested/2"]
        end.ask("tested.count", slot=3)
        assert (await end.result())[0].code == "not-found"
    assert restored == [2, 0, 1], "once each, before its first call"


@in_loop
async def test_an_agent_of_the_wrong_tier_says_so():
    with pytest.raises(Ended, match="tier='actor'"):
        async with house(counting(), extra={"MESHNODE_SLOTS": "4"}):
            pass


@in_loop
async def test_a_restore_hook_that_raises_in_an_actor_fails_the_call_and_runs_again():
    agent = Agent("tested", tier="actor")
    tries: list[int] = []

    @agent.on_restore
    def hook(ctx: Ctx, told: Restored) -> None:
        tries.append(ctx.slot)
        ctx.state["half"] = True
        if len(tries) == 1:
            raise KeyError("model")

    @agent.skill
    async def slot(ctx: Ctx) -> int:
        return ctx.slot

    async with at_work(agent, slots=2) as end:
        end.ask("tested.slot", slot=1)
        header, _ = await end.result()
        assert header.code == "restore-failed" and "KeyError: 'model'" in header.message
        assert not end.waiting(Kind.STATE)
        end.ask("tested.slot", slot=1)
        assert (await end.result())[1] == 1 and tries == [1, 1]
