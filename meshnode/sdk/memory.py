"""The state of a process as its daemon hands it over: restored before the first call, merged when copies meet again."""

import asyncio
import inspect
import traceback
from collections.abc import Callable
from typing import Any

import msgspec

from meshnode.sdk.cells import Cells
from meshnode.sdk.commits import Commits
from meshnode.sdk.context import Ctx
from meshnode.sdk.errors import StateError
from meshnode.sdk.hooks import Hooks, Restored
from meshnode.sdk.state import Turn
from meshnode.sdk.threads import Threads
from meshnode.sdk.turns import Turns
from meshnode.wire.frame import Frame
from meshnode.wire.state import (
    VALUE_BYTES_MAX,
    Change,
    MergedCell,
    MergeHeader,
    Op,
    RestoredCell,
    RestoreHeader,
    read_key,
)

# How long a merge function may think before the key is left undecided.
MERGE_S = 5.0

_restores = msgspec.msgpack.Decoder(RestoreHeader)
_restored = msgspec.msgpack.Decoder(list[RestoredCell])
_merges = msgspec.msgpack.Decoder(MergeHeader)
_merged = msgspec.msgpack.Decoder(list[MergedCell])


class HookFailed(Exception):
    """A hook of the author's raised, and without it the agent cannot work."""


class Memory:
    """Cells, and what happens to them besides calls. ``ready`` is set when calls may be served."""

    def __init__(
        self, cells: Cells, commits: Commits, turns: Turns, threads: Threads, hooks: Hooks, *, by_slot: bool
    ) -> None:
        self._cells, self._commits, self._turns, self._threads = cells, commits, turns, threads
        self._hooks, self._by_slot = hooks, by_slot
        self.ready = asyncio.Event()
        self.restored: Restored | None = None
        self.context: Callable[[Turn, int], Ctx] | None = None
        self._undecided: list[str] = []
        self._prepared: set[int] = set()
        self._merging = asyncio.Lock()

    def turn(self, slot: int, *, is_open: bool = True) -> Turn:
        return Turn(self._cells, slot if self._by_slot else -1, open_=is_open)

    # Restoring

    def restore(self, frame: Frame) -> bool:
        """Take one RESTORE; True: that was the last, ``prepare`` the slots. A new first one replaces everything."""
        header = _restores.decode(frame.header)
        if self.restored is not None:
            self._cells.clear()
            self._undecided, self.restored = [], None
            self._prepared.clear()
        cells = _restored.decode(frame.payload) if frame.payload else []
        self._cells.restore(cells)
        self._undecided += [read_key(cell.key).shown() for cell in cells if cell.siblings]
        if not header.last:
            return False
        age_s = header.age_ms / 1000 if header.age_ms >= 0 else None
        self.restored = Restored(header.version, age_s, header.gap, header.source, tuple(self._undecided))
        return True

    async def prepare(self, slot: int) -> None:
        """Run the restore hook for a slot, once, in a turn that the caller holds. Raises ``HookFailed``."""
        hook = self._hooks.restore
        if hook is None or slot in self._prepared or self.restored is None or self.context is None:
            return
        turn = self.turn(slot)
        try:
            await self._run_hook(hook, self.context(turn, slot), self.restored)
            changes = turn.settle()
            if changes:
                self._commits.commit(changes)
            self._prepared.add(slot)
        except Exception as error:
            raise HookFailed(f"the on_restore of {self._hooks.agent} raised {type(error).__name__}: {error}") from error
        finally:
            turn.drop()

    async def _run_hook(self, hook: Callable[..., Any], *given: object) -> Any:  # noqa: ANN401 - the author's
        if inspect.iscoroutinefunction(hook):
            return await hook(*given)
        return await self._threads.run(lambda: hook(*given))

    # Merging

    async def merge(self, frame: Frame) -> None:
        """Apply a MERGE in the turns of the slots it touches, ask merge functions, answer MERGED."""
        header = _merges.decode(frame.header)
        cells = _merged.decode(frame.payload) if frame.payload else []
        async with self._merging:
            slots = sorted({self._slot_of(cell) for cell in cells})
            taken: list[int] = []
            try:
                for slot in slots:
                    await self._turns.take(slot)
                    taken.append(slot)
                self._cells.merge(cells)
                self._commits.stand_upon(cells, header.seq)
                changes = [change for cell in cells if cell.ask and (change := await self._decide(cell)) is not None]
                self._commits.merged(header.merge_no, changes)
            finally:
                for slot in taken:
                    self._turns.release(slot)

    def _slot_of(self, cell: MergedCell) -> int:
        return read_key(cell.key).slot if self._by_slot else self._hooks.first_slot

    async def _decide(self, cell: MergedCell) -> Change | None:
        """What the author's function makes of two values; ``None``: it could not, and the key stays undecided."""
        function = self._hooks.merge_of(read_key(cell.key).name)
        if function is None:
            return None
        try:
            base, mine, theirs = (
                msgspec.json.decode(value) if value else None for value in (cell.base, cell.mine, cell.theirs)
            )
            async with asyncio.timeout(MERGE_S):
                value = await self._run_hook(function, base, mine, theirs)
            data = msgspec.json.encode(value)
            if len(data) > VALUE_BYTES_MAX:
                raise StateError("state-value-too-big", f"{len(data)} bytes, the limit is {VALUE_BYTES_MAX}")  # noqa: TRY301
        except Exception as error:  # noqa: BLE001 - the author's code may raise anything; the key stays a sibling
            traceback.print_exception(error)
            return None
        return Change(cell.key, Op.SET, data)
