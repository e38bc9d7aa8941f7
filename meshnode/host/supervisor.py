"""Starts and ends the processes of agents, and tells how they went. The hands are the warden's (host/warden.py).

Agents outlive this process: what an earlier one started is found and told before anything else. A warden that dies
takes its agents along; their ends are told here, and the next start makes a new warden.
"""

import asyncio
import contextlib
import logging
import os
import shutil
import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import assert_never

from meshnode.agents.messages import (
    FoundProcess,
    ProcessesFound,
    ProcessExited,
    ProcessFailed,
    ProcessStarted,
    StartProcess,
    StopProcess,
)
from meshnode.host.blobs import BlobStore
from meshnode.host.bundles import Bundles, NoFile
from meshnode.host.launch import mark_of
from meshnode.host.strays import sweep
from meshnode.host.wardenlink import STDERR_NAME, WardenLink, clean_environment, connect, spawn
from meshnode.host.wardenwire import (
    MESSAGE_BYTES_MAX,
    VERSION,
    Exited,
    Failed,
    FromWarden,
    Go,
    Goodbye,
    List,
    Listed,
    Start,
    Started,
    Stop,
    encode,
)
from meshnode.model.ids import InstanceId
from meshnode.model.units import agent_of

log = logging.getLogger(__name__)

Told = ProcessesFound | ProcessStarted | ProcessFailed | ProcessExited

# Without a daemon the warden waits so long for the next one before it ends everything.
ORPHAN_S = 20.0
# A warden that was found has to say what it has within this, or it is taken for hung.
_LISTED_S = 10.0
# From SIGKILL to the end of a process; only one stuck in the kernel takes longer.
_KILLED_S = 5.0
# A start that ended its warden before it was confirmed is tried once more, on the next one.
_TRIES_MAX = 2
_CLEAN_S = 0.2


@dataclass(eq=False, slots=True)
class _Run:
    """``order`` is None for a found one. ``started``: the warden has said so."""

    order: Start | None
    started: bool = False
    tries: int = 0


class Supervisor:
    """``tell`` is called from the loop; ``bus``: address of the socket agents connect to; ``node``: this node's name.

    ``run``: directory of the node's sockets; ``bundles``: where files of agents are laid that came as ``blobs``.
    ``warm_after_s``: a warden is made ready that long after the start even if nothing is to be started yet, so that
    the first agent (perhaps a dead neighbour's) does not wait for it; None: only when it is needed.
    """

    def __init__(
        self,
        tell: Callable[[Told], None],
        *,
        logs: Path,
        run: Path,
        bus: str,
        node: str,
        bundles: Path,
        blobs: BlobStore,
        orphan_s: float = ORPHAN_S,
        warm_after_s: float | None = 1.0,
    ) -> None:
        self._tell, self._logs, self._run, self._bus, self._node = tell, logs, run, bus, node
        self._bundles = Bundles(bundles, blobs)
        self._orphan_ms, self._warm_after_s = int(orphan_s * 1000), warm_after_s
        self._loop = asyncio.get_running_loop()
        self._link: WardenLink | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._runs: dict[tuple[str, int], _Run] = {}
        self._waiting: dict[tuple[str, int], _Run] = {}  # those of them that no warden has been asked for yet
        self._found_told = self._sweeping = self._closing = False
        self._timer: asyncio.TimerHandle | None = None
        self._at_rest = asyncio.Event()  # no warden of ours, and nobody looks for what one left
        self._at_rest.set()

    def start(self) -> None:
        """Look for what still runs; ``ProcessesFound`` follows, exactly once, before anything else is told."""
        connection = connect(self._run)
        if connection is None:
            self._sweep(0.0)
            return
        self._attach(WardenLink(connection, self._heard, self._lost))
        self._set_timer(_LISTED_S, self._hung)

    def perform(self, effect: StartProcess | StopProcess) -> None:
        if isinstance(effect, StartProcess):
            self._start(effect)
        else:
            self._stop(effect)

    async def close(self) -> None:
        """Kill what still runs, at once, and wait until it is gone. For a graceful end there is StopProcess."""
        self._closing = True
        self._set_timer(None)
        if self._link is not None:
            self._link.send(Goodbye())
        if not await self._rest() and self._link is not None:
            self._link.kill()
            await self._rest()
        if self._link is not None:
            self._link.close()

    async def _rest(self) -> bool:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_KILLED_S):
                await self._at_rest.wait()
        return self._at_rest.is_set()

    # Orders

    def _start(self, effect: StartProcess) -> None:
        try:
            order = self._order(effect)
        except NoFile as error:
            self._tell(ProcessFailed(effect.instance, effect.run_no, error.message))
        except OSError as error:
            what = f": {error.filename}" if error.filename else ""
            self._tell(ProcessFailed(effect.instance, effect.run_no, f"{error.strerror or error}{what}"))
        else:
            key = (effect.instance, effect.run_no)
            self._runs[key] = self._waiting[key] = _Run(order)
            self._flush()

    def _order(self, effect: StartProcess) -> Start:
        recipe = effect.recipe
        environment, cwd, file = self._environment(effect), recipe.cwd, ""
        if recipe.file:
            path = self._bundles.file_of(recipe)
            file = str(path)
            if not Path(cwd).is_dir():
                cwd = str(path.parent)
        else:
            _find_program(recipe.argv, cwd, environment["PATH"])
        order = Start(effect.instance, effect.run_no, effect.ticket, recipe.argv, cwd, environment, file)
        if len(encode(order)) > MESSAGE_BYTES_MAX:
            raise OSError(7, f"its arguments and environment are over {MESSAGE_BYTES_MAX} bytes")
        return order

    def _environment(self, effect: StartProcess) -> dict[str, str]:
        return {
            **clean_environment(),
            "PYTHONUNBUFFERED": "1",  # the last lines before a crash are the ones that matter
            **effect.recipe.environment,
            "MESHNODE_AGENT": agent_of(effect.instance),
            "MESHNODE_INSTANCE": effect.instance,
            "MESHNODE_TICKET": effect.ticket,
            "MESHNODE_BUS": self._bus,
            "MESHNODE_API": str(self._run / "api.sock"),  # for agents without the SDK, see api/bus.py
            "MESHNODE_NODE": self._node,
            "MESHNODE_FIRST_SLOT": str(effect.first_slot),
            "MESHNODE_SLOTS": str(effect.slots),
        }

    def _stop(self, effect: StopProcess) -> None:
        key = (effect.instance, effect.run_no)
        if key in self._waiting:  # it never was a process
            del self._runs[key], self._waiting[key]
            self._tell(ProcessExited(InstanceId(effect.instance), effect.run_no, 0, "SIGTERM"))
        elif key in self._runs and self._link is not None:
            self._link.send(Stop(effect.instance, effect.run_no, effect.grace_us))

    def _flush(self) -> None:
        """Send what waits, to a new warden if there is none."""
        if self._sweeping or not self._found_told or self._closing:
            return
        if not self._waiting or not self._ready():
            return
        waiting, self._waiting = self._waiting, {}
        for run in waiting.values():
            assert run.order is not None
            assert self._link is not None
            run.tries += 1
            self._link.send(run.order)

    # The warden

    def _ready(self) -> bool:
        """Whether there is a warden now. If none can be had, whatever waits for one has failed."""
        if self._link is not None:
            return True
        try:
            connection, self._process = spawn(self._run, self._logs, orphan_ms=self._orphan_ms)
        except OSError as error:
            self._fail_waiting(f"no process can be started: {error.strerror or error}")
            return False
        self._attach(WardenLink(connection, self._heard, self._lost, self._process.pid))
        return True

    def _attach(self, link: WardenLink) -> None:
        self._link = link
        self._at_rest.clear()
        if link.uid != os.geteuid():  # its directory is ours alone: only root could have put it there
            log.warning("the warden is another user's", extra={"uid": link.uid})
        link.send(List())

    def _warm(self) -> None:
        if self._link is None and not self._sweeping and not self._closing:
            self._ready()

    def _hung(self) -> None:
        if self._link is not None:
            log.warning("the warden does not answer and is killed", extra={"pid": self._link.pid})
            self._link.kill()

    def _lost(self) -> None:
        """The warden has ended, and with it what it had started; make sure of that before it is told."""
        if not self._closing:
            log.warning("the warden has ended", extra={"runs": len(self._runs), "see": STDERR_NAME})
        self._link = None
        self._set_timer(None)
        self._sweep(_KILLED_S)

    def _sweep(self, patience_s: float) -> None:
        self._sweeping = True
        self._at_rest.clear()
        mark, process = mark_of(str(self._run)).partition(".")[0], self._process
        self._process = None

        def work() -> None:
            # A warden that said goodbye may need a moment to end by itself, and to tidy up.
            if process is not None:
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(_CLEAN_S)
            sweep(mark, patience_s or _KILLED_S)
            if process is not None:
                process.wait()

        self._loop.run_in_executor(None, work).add_done_callback(self._swept)

    def _swept(self, done: "asyncio.Future[None]") -> None:
        error = None if done.cancelled() else done.exception()
        if error is not None:
            log.warning("processes of the last warden could not be looked for", extra={"error": str(error)})
        self._sweeping = False
        self._tell_found(())
        for (instance, run_no), run in list(self._runs.items()):
            if (instance, run_no) not in self._waiting:
                self._over(instance, run_no, run)
        if self._closing:
            self._fail_waiting("the node goes down")
        self._at_rest.set()
        self._flush()

    def _over(self, instance: str, run_no: int, run: _Run) -> None:
        key = (instance, run_no)
        if run.started:
            del self._runs[key]
            self._tell(ProcessExited(InstanceId(instance), run_no, 0, "SIGKILL", "its warden ended, and it with it"))
        elif run.tries >= _TRIES_MAX:
            del self._runs[key]
            why = f"the process that starts agents ended {run.tries} times; see {STDERR_NAME} beside the agents' logs"
            self._tell(ProcessFailed(InstanceId(instance), run_no, why))
        else:
            self._waiting[key] = run

    def _fail_waiting(self, error: str) -> None:
        waiting, self._waiting = self._waiting, {}
        for instance, run_no in waiting:
            del self._runs[instance, run_no]
            self._tell(ProcessFailed(InstanceId(instance), run_no, error))

    # Reports

    def _heard(self, report: FromWarden) -> None:
        match report:
            case Listed():
                self._listed(report)
            case Started(instance, run_no, pid):
                run = self._runs.get((instance, run_no))
                if run is not None:
                    run.started = True
                    self._tell(ProcessStarted(InstanceId(instance), run_no, pid))
                if self._link is not None:
                    self._link.send(Go(instance, run_no))  # only now: it must not register before it was told of
            case Failed(instance, run_no, error):
                if self._runs.pop((instance, run_no), None) is not None:
                    self._tell(ProcessFailed(InstanceId(instance), run_no, error))
            case Exited(instance, run_no, code, signal, tail):
                self._runs.pop((instance, run_no), None)
                self._tell(ProcessExited(InstanceId(instance), run_no, code, signal, tail))
            case _:
                assert_never(report)

    def _listed(self, report: Listed) -> None:
        if report.version != VERSION:
            self._hung()  # of another version of this program: its agents start anew
            return
        if self._found_told:
            return
        self._set_timer(None)
        for row in report.rows:
            self._runs[row.instance, row.run_no] = _Run(None, started=True)
        self._tell_found(tuple(FoundProcess(InstanceId(r.instance), r.run_no, r.pid, r.ticket) for r in report.rows))
        self._flush()

    def _tell_found(self, found: tuple[FoundProcess, ...]) -> None:
        if self._found_told:
            return
        self._found_told = True
        self._tell(ProcessesFound(found))
        if self._warm_after_s is not None and self._link is None:
            self._set_timer(self._warm_after_s, self._warm)

    def _set_timer(self, after_s: float | None, then: Callable[[], None] = lambda: None) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None if after_s is None else self._loop.call_later(after_s, then)


def _find_program(argv: tuple[str, ...], cwd: str, path: str) -> None:
    """Fail before the start, with the name of what is missing, rather than by an exit code."""
    if not Path(cwd).is_dir():
        raise FileNotFoundError(2, "no such folder", cwd)
    program = argv[0] if argv else ""
    if "/" in program:
        found = os.access(Path(cwd) / program, os.X_OK)
    else:
        found = bool(program) and shutil.which(program, path=path) is not None
    if not found:
        raise FileNotFoundError(2, "no such program, or it may not be executed", program or "(none given)")
