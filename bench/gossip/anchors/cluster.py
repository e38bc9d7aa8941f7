"""A cluster of serf agents in two namespaces: started, ordered by RPC, heard by their logs."""

import asyncio
import contextlib
import os
import re
import signal
import time
from dataclasses import dataclass, field

import msgspec

from bench.gossip.namespaces import CONTROL, DATA
from bench.gossip.waiting import POLL_S

PROFILE = "lan"  # as are all other parameters: those that serf ships
GOSSIP_PORT, RPC_PORT = 20_000, 30_000
CONNECT_TRIES = 400
CHUNK_BYTES = 65_536
_MEMBER = re.compile(rb"EventMember(\w+): (n\d+)")
_USER = re.compile(rb"user-event: (\S+)")
_SUSPECT = re.compile(rb"Suspect (n\d+) has failed")


@dataclass(slots=True)
class Agent:
    """One agent. ``view``: state by name; ``log``: (when, what, of whom), what also "Suspect"; ``events`` by name."""

    number: int
    namespace: str
    alive: bool = True
    view: dict[str, str] = field(default_factory=dict[str, str])
    log: list[tuple[float, str, str]] = field(default_factory=list[tuple[float, str, str]])
    events: dict[str, float] = field(default_factory=dict[str, float])
    process: asyncio.subprocess.Process | None = None
    writer: asyncio.StreamWriter | None = None
    asked: int = 0

    @property
    def name(self) -> str:
        return f"n{self.number}"

    @property
    def address(self) -> str:
        return f"10.{DATA}.255.{self.number % 2 + 1}:{GOSSIP_PORT + self.number}"

    @property
    def pid(self) -> int:
        assert self.process is not None
        return self.process.pid

    def ask(self, command: str, **body: object) -> float:
        """Send a request; its answer is not waited for, its effects are heard. When it was sent."""
        assert self.writer is not None
        self.asked += 1
        at_s = time.monotonic()
        encode = msgspec.msgpack.encode
        self.writer.write(encode({"Command": command, "Seq": self.asked}) + encode(body))
        return at_s

    def signal(self, number: signal.Signals) -> float:
        at_s = time.monotonic()
        os.kill(self.pid, number)
        return at_s


class Cluster:
    """``names``: of the namespaces; the harness runs in the first one."""

    def __init__(self, names: tuple[str, str], count: int, tasks: asyncio.TaskGroup) -> None:
        self.agents = [Agent(number, names[number % 2]) for number in range(count)]
        self._tasks = tasks
        self._ears: list[asyncio.Task[None]] = []

    @property
    def alive(self) -> list[Agent]:
        return [agent for agent in self.agents if agent.alive]

    async def start(self) -> None:
        """All up, none has joined another."""
        for agent in self.agents:
            rpc_host = f"10.{CONTROL}.255.{agent.number % 2 + 1}"
            rpc = f"{rpc_host}:{RPC_PORT + agent.number}"
            agent.process = await asyncio.create_subprocess_exec(
                "ip", "netns", "exec", agent.namespace, "serf", "agent", f"-node={agent.name}",
                f"-bind={agent.address}", f"-rpc-addr={rpc}", f"-profile={PROFILE}", "-log-level=debug",
                stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT,
            )  # fmt: skip
            self._ears.append(self._tasks.create_task(self._hear(agent), name=f"log of {agent.name}"))
        for agent in self.agents:
            host = f"10.{CONTROL}.255.{agent.number % 2 + 1}"
            reader, agent.writer = await _connected(host, RPC_PORT + agent.number)
            self._ears.append(self._tasks.create_task(_drain(reader), name=f"answers of {agent.name}"))
            agent.ask("handshake", Version=1)

    def whole(self) -> bool:
        names = [agent.name for agent in self.alive]
        return all(agent.view.get(name) == "alive" for agent in self.alive for name in names)

    def stop(self) -> None:
        for agent in self.agents:
            if agent.process is not None and agent.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    agent.process.kill()
        for ear in self._ears:
            ear.cancel()

    async def _hear(self, agent: Agent) -> None:
        assert agent.process is not None
        assert agent.process.stdout is not None
        async for line in agent.process.stdout:
            at_s = time.monotonic()
            if member := _MEMBER.search(line):
                what, name = member[1].decode(), member[2].decode()
                agent.log.append((at_s, what, name))
                known = agent.view.get(name, "alive")
                agent.view[name] = {"Join": "alive", "Update": known}.get(what, what.lower())
            elif user := _USER.search(line):
                agent.events.setdefault(user[1].decode(), at_s)
            elif suspect := _SUSPECT.search(line):
                agent.log.append((at_s, "Suspect", suspect[1].decode()))


async def _connected(host: str, port: int) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    for _ in range(CONNECT_TRIES):
        with contextlib.suppress(OSError):
            return await asyncio.open_connection(host, port)
        await asyncio.sleep(POLL_S)
    raise SystemExit(f"no agent answers at {host}:{port}")


async def _drain(reader: asyncio.StreamReader) -> None:
    with contextlib.suppress(OSError):
        while await reader.read(CHUNK_BYTES):
            pass
