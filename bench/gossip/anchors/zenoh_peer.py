"""One zenoh peer in the environment of the anchors: says on stdout what it sees, publishes on order from stdin.

    zenoh_peer.py NUMBER PORT SEED_PORT       (SEED_PORT "-": the first one)

Lines out: ``ready NUMBER AT``, ``live NUMBER AT``, ``dead NUMBER AT``, ``event NAME AT``; AT is CLOCK_MONOTONIC, which
all processes of a machine share. Line in: the name of an event of 64 bytes.
"""

import json
import sys
import threading
import time

import zenoh

EVENT_BYTES = 64


def main() -> None:
    number, port, seed = sys.argv[1:]
    config = zenoh.Config()
    config.insert_json5("mode", '"peer"')
    config.insert_json5("listen/endpoints", json.dumps([f"tcp/127.0.0.1:{port}"]))
    if seed != "-":
        config.insert_json5("connect/endpoints", json.dumps([f"tcp/127.0.0.1:{seed}"]))
    config.insert_json5("scouting/multicast/enabled", "false")
    config.insert_json5("scouting/gossip/enabled", "true")
    lock = threading.Lock()

    def say(what: str, of: str) -> None:
        with lock:
            sys.stdout.write(f"{what} {of} {time.monotonic()}\n")
            sys.stdout.flush()

    session = zenoh.open(config)

    def seen(sample: zenoh.Sample) -> None:
        what = "live" if sample.kind == zenoh.SampleKind.PUT else "dead"
        say(what, str(sample.key_expr).rsplit("/", 1)[1])

    watch = session.liveliness().declare_subscriber("gossip/live/*", seen, history=True)
    ear = session.declare_subscriber(
        "gossip/event", lambda sample: say("event", sample.payload.to_bytes().decode().strip())
    )
    token = session.liveliness().declare_token(f"gossip/live/{number}")
    mouth = session.declare_publisher("gossip/event")
    say("ready", number)
    for line in sys.stdin:
        mouth.put(line.strip().ljust(EVENT_BYTES).encode())
    del watch, ear, token


if __name__ == "__main__":
    main()
