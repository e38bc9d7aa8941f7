"""Chapters about the gateway: it watches, is killed for a minute, and has its whole history afterwards."""

import time

from tests.demo.chapters import ALL, Demo
from tests.demo.watcher_process import GatewayProcess

THROUGH = "beta"  # the one node that nobody kills or cuts off
GOAL_SEEN_S, GOAL_COMPLETE_S = 5.0, 10.0
AWAY_S, AWAY_BROKEN_S = 60.0, 1.0


def watch(demo: Demo) -> None:
    story = demo.story
    story.chapter("A gateway watches the fleet, as a guest of beta")
    gateway = demo.gateway = GatewayProcess(demo.fleet[THROUGH].directory, demo.fleet.gateway_fault)
    address = gateway.start()
    story.tell(f"beta$ meshnode gateway      {address.url}")
    seen = demo.verifier.check("watched", url=address.url, names=list(ALL))
    story.timed("its API lists the four as ready, its page comes", seen["took_s"], GOAL_SEEN_S, seen=seen["seen"])
    _complete(demo, "its history is what the four journals hold")
    gateway.kill()
    story.tell("the gateway is SIGKILLed; it stays away for a minute, whatever happens now")


def return_(demo: Demo) -> None:
    story, gateway = demo.story, demo.gateway
    story.chapter("The gateway comes back")
    assert gateway is not None
    left = gateway.killed_at + (AWAY_BROKEN_S if demo.fleet.fault else demo.away_s) - time.monotonic()
    if left > 0:
        story.tell(f"its time away is not over: {left:.0f} s more, and the load goes on")
        time.sleep(left)
    if demo.load is not None:
        demo.progress("the mesh did not notice: the load is acknowledged through all four", least=40, through=ALL)
    story.tell(f"it was away for {time.monotonic() - gateway.killed_at:.0f} s")
    gateway.start()
    _complete(demo, "its history is complete: every event of the four journals once, no gap")


def _complete(demo: Demo, text: str) -> None:
    assert demo.gateway is not None
    seen = demo.verifier.check("kept", url=demo.gateway.address.url, nodes=demo.of(ALL))
    demo.story.timed(text, seen["took_s"], GOAL_COMPLETE_S, seen=seen["seen"])
