"""A network between the daemons of one machine that can be cut: silent, as when a cable is pulled.

``python -m meshnode.cli.demo_proxy N``: each of N daemons is dialled only at its front port here, and dials from its
own 127.0.1.NUMBER, so that an accepted connection's source address tells who dials. Between cut nodes nothing passes:
no byte, no RST, no FIN; what was in flight arrives after the cut is healed, as TCP would deliver it.

First line out: ``{"fronts": {"1": PORT, ...}}``. Orders come as JSON lines on standard input, each answered by
``{"ok": true}``: ``{"backend": [NUMBER, HOST, PORT]}`` and ``{"cut": [[1, 2], ...]}``, which replaces the cut.
``{"count": []}`` is answered by ``{"sent": {"1": BYTES, ...}}``: what each node has written into its connections.
Ends when its standard input does; after ``{"stay": true}`` not before no daemon is left behind it.
"""

import asyncio
import contextlib
import json
import socket
import struct
import sys

from meshnode.host.listener import next_connection

CHUNK_BYTES = 65_536
NODES_MAX = 250
LOOK_EVERY_S = 3.0
_RESET = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 s: close() sends RST

Pair = tuple[int, int]


def pair(a: int, b: int) -> Pair:
    return (min(a, b), max(a, b))


def node_of(source: str) -> int:
    """127.0.1.N is node N; anybody else (a joiner before it has an address) is node 0, which is never cut."""
    return int(source.rpartition(".")[2]) if source.startswith("127.0.1.") else 0


class Network:
    """Who may speak with whom, and the bytes between them."""

    def __init__(self, tasks: asyncio.TaskGroup) -> None:
        self._tasks = tasks
        self._backends: dict[int, tuple[str, int]] = {}
        self._cut: frozenset[Pair] = frozenset()
        self._gates: dict[Pair, asyncio.Event] = {}
        self.sent: dict[int, int] = {}

    def backend(self, node: int, host: str, port: int) -> None:
        self._backends[node] = (host, port)

    def cut(self, pairs: list[list[int]]) -> None:
        self._cut = frozenset(pair(a, b) for a, b in pairs)
        for between, gate in self._gates.items():
            if between in self._cut:
                gate.clear()
            else:
                gate.set()

    async def somebody_serves(self) -> bool:
        """Whether any daemon still accepts connections."""
        for host, port in self._backends.values():
            with contextlib.suppress(OSError):
                _, writer = await asyncio.open_connection(host, port)
                writer.close()
                return True
        return False

    async def serve(self, node: int, front: socket.socket) -> None:
        while True:
            dialler, source = await next_connection(front)
            self._tasks.create_task(self._carry(node, node_of(source), dialler), name=f"{source} -> {node}")

    def _gate(self, a: int, b: int) -> asyncio.Event:
        between = pair(a, b)
        gate = self._gates.get(between)
        if gate is None:
            gate = self._gates[between] = asyncio.Event()
            if between not in self._cut:
                gate.set()
        return gate

    async def _carry(self, node: int, dialling: int, dialler: socket.socket) -> None:
        gate = self._gate(node, dialling)
        served = socket.socket()
        try:
            await gate.wait()
            served.setblocking(False)
            for end in (dialler, served):
                end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            await asyncio.get_running_loop().sock_connect(served, self._backends.get(node, ("127.0.0.1", 1)))
            async with asyncio.TaskGroup() as pumps:
                pumps.create_task(self._pump(dialler, served, gate, dialling), name="there")
                pumps.create_task(self._pump(served, dialler, gate, node), name="back")
        except* OSError:
            for end in (dialler, served):
                with contextlib.suppress(OSError):
                    end.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        finally:
            dialler.close()
            served.close()

    async def _pump(self, source: socket.socket, sink: socket.socket, gate: asyncio.Event, sender: int) -> None:
        """Bytes one way. While the gate is shut nothing passes, not even the news that one end is gone."""
        loop = asyncio.get_running_loop()
        while True:
            try:
                data = await loop.sock_recv(source, CHUNK_BYTES)
            except OSError:
                await gate.wait()
                raise
            self.sent[sender] = self.sent.get(sender, 0) + len(data)
            await gate.wait()
            if not data:
                with contextlib.suppress(OSError):
                    sink.shutdown(socket.SHUT_WR)
                return
            await loop.sock_sendall(sink, data)


def _front() -> socket.socket:
    front = socket.socket()
    front.bind(("127.0.0.1", 0))
    front.listen(64)
    front.setblocking(False)
    return front


def _say(line: object) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()


async def _obey(network: Network) -> None:
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    stay = False
    while line := await reader.readline():
        order = json.loads(line)
        stay = stay or "stay" in order
        if "backend" in order:
            network.backend(*order["backend"])
        if "cut" in order:
            network.cut(order["cut"])
        _say({"sent": network.sent} if "count" in order else {"ok": True})
    while stay and await network.somebody_serves():  # noqa: ASYNC110 - other processes set no event here
        await asyncio.sleep(LOOK_EVERY_S)


async def main(nodes: int) -> None:
    assert 0 < nodes <= NODES_MAX
    fronts = {node: _front() for node in range(1, nodes + 1)}
    _say({"fronts": {node: front.getsockname()[1] for node, front in fronts.items()}})
    async with asyncio.TaskGroup() as tasks:
        network = Network(tasks)
        serving = [
            tasks.create_task(network.serve(node, front), name=f"front {node}") for node, front in fronts.items()
        ]
        await _obey(network)
        for task in serving:
            task.cancel()
        raise SystemExit(0)  # connections that are still open end with the process


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt, SystemExit, BaseExceptionGroup):
        asyncio.run(main(int(sys.argv[1])))
