"""A thousand programs that only listen: ``python -m bench.talk.listeners EACH ENDPOINT...`` opens so many SUB sockets
to each endpoint, and counts. A line on stdin asks; the answer is, as JSON by topic, how many got how many.
"""

import json
import resource
import sys
from collections import Counter, defaultdict
from collections.abc import Iterator

import zmq

TOPIC = b"topic/bench/"
FILES = 8192


def main() -> None:
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(FILES, hard), hard))
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    context.set(zmq.MAX_SOCKETS, 4096)
    each, endpoints = int(sys.argv[1]), sys.argv[2:]
    sockets = [opened(context, endpoint) for endpoint in endpoints for _ in range(each)]
    heard: dict[str, Counter[int]] = defaultdict(Counter)
    poller = zmq.Poller()
    poller.register(0, zmq.POLLIN)
    for socket in sockets:
        poller.register(socket, zmq.POLLIN)
    numbers = {socket: number for number, socket in enumerate(sockets)}
    print(json.dumps({"ready": len(sockets)}), flush=True)
    while True:
        for at, _ in poller.poll():
            if at == 0:
                if not sys.stdin.readline():
                    return
                print(json.dumps(told(heard, len(sockets))), flush=True)
            else:
                for topic in drained(at):
                    heard[topic.decode()][numbers[at]] += 1


def opened(context: "zmq.Context[zmq.Socket[bytes]]", endpoint: str) -> "zmq.Socket[bytes]":
    made = context.socket(zmq.SUB)
    made.setsockopt(zmq.RCVHWM, 100_000)
    made.setsockopt(zmq.SUBSCRIBE, TOPIC)
    made.connect(endpoint)
    return made


def told(heard: dict[str, Counter[int]], listeners: int) -> dict[str, Counter[int]]:
    return {topic: Counter(counts[number] for number in range(listeners)) for topic, counts in heard.items()}


def drained(socket: "zmq.Socket[bytes]") -> Iterator[bytes]:
    """The topics of what waits there."""
    while True:
        try:
            yield socket.recv_multipart(zmq.NOBLOCK)[0]
        except zmq.Again:
            return


if __name__ == "__main__":
    main()
