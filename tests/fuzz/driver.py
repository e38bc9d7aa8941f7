"""One way to fuzz a parser: corpus plus mutations until the time is up, guided by the lines an input reaches.

A fuzz target is a function of bytes. It may return, or raise ``RemoteError`` (the named refusal every decoder owes
hostile bytes); anything else is a finding. Use, at the end of ``tests/fuzz/fuzz_NAME.py``::

    if __name__ == "__main__":
        sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
        from tests.fuzz.driver import main

        sys.exit(main("NAME", one_input, Path(__file__).parent / "corpus" / "NAME"))

``python tests/fuzz/fuzz_NAME.py SECONDS [SEED]`` exits 1 on a finding and leaves the input under ``build/fuzz/``; the
seed is printed, and the same seed tries the same inputs in the same order. Files in the corpus directory are inputs as
they are; a unit test replays them with ``replay``.

An input that reaches a line of meshnode no input reached before, or a refusal with a new name, joins the pool that
later mutations start from.
"""

import faulthandler
import hashlib
import random
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

from meshnode.model.errors import RemoteError

OneInput = Callable[[bytes], None]

ROOT = Path(__file__).resolve().parents[2]
POOL_MAX = 2048
INPUT_BYTES_MAX = 64 * 1024
HANG_S = 30.0
TRACE_EVERY = 4  # line tracing costs several times the run itself
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def main(name: str, one_input: OneInput, corpus_dir: Path) -> int:
    """Command line of a fuzz target; the exit status."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().getrandbits(32)
    return drive(name, one_input, corpus_dir, seconds, seed)


def drive(name: str, one_input: OneInput, corpus_dir: Path, seconds: float, seed: int = 1) -> int:
    """Fuzz for ``seconds``. Returns 0, or 1 when an input broke the target."""
    faulthandler.dump_traceback_later(seconds + HANG_S, exit=True)  # an input that never ends is a finding too
    status = _drive(name, one_input, corpus_dir, seconds, seed)
    faulthandler.cancel_dump_traceback_later()
    return status


def replay(one_input: OneInput, corpus_dir: Path) -> int:
    """Give every file of the corpus to the target; how many there were. A finding propagates."""
    seeds = _corpus(corpus_dir)
    for data in seeds:
        _outcome(one_input, data)
    return len(seeds)


class Mutator:
    """Inputs bred from a pool. Equal seeds and equal ``keep`` calls give equal inputs."""

    def __init__(self, pool: list[bytes], seed: int) -> None:
        self._pool = pool or [b""]
        self._rng = random.Random(seed)
        self._moves: tuple[Callable[[bytearray], None], ...] = (
            self._flip_bit,
            self._set_byte,
            self._set_number,
            self._nudge_number,
            self._delete_slice,
            self._repeat_slice,
            self._insert_noise,
            self._truncate,
            self._splice,
        )

    def __len__(self) -> int:
        return len(self._pool)

    def keep(self, data: bytes) -> None:
        if len(self._pool) < POOL_MAX:
            self._pool.append(data)
        else:
            self._pool[self._rng.randrange(len(self._pool))] = data

    def breed(self) -> bytes:
        data = bytearray(self._rng.choice(self._pool))
        for _ in range(1 + int(self._rng.expovariate(0.7))):
            self._rng.choice(self._moves)(data)
        return bytes(data[:INPUT_BYTES_MAX])

    def _at(self, data: bytearray) -> int:
        return self._rng.randrange(len(data) + 1)

    def _flip_bit(self, data: bytearray) -> None:
        if data:
            data[self._rng.randrange(len(data))] ^= 1 << self._rng.randrange(8)

    def _set_byte(self, data: bytearray) -> None:
        if data:
            data[self._rng.randrange(len(data))] = self._rng.randrange(256)

    def _set_number(self, data: bytearray) -> None:
        width = self._rng.choice((1, 2, 4, 8))
        number = self._rng.choice(_NUMBERS) & ((1 << 8 * width) - 1)
        at = self._at(data)
        data[at : at + width] = number.to_bytes(width, self._rng.choice(("big", "little")))

    def _nudge_number(self, data: bytearray) -> None:
        width = self._rng.choice((1, 2, 4))
        at = self._at(data)
        old = int.from_bytes(data[at : at + width])
        new = (old + self._rng.randint(-16, 16)) & ((1 << 8 * width) - 1)
        data[at : at + width] = new.to_bytes(width)

    def _delete_slice(self, data: bytearray) -> None:
        at = self._at(data)
        del data[at : at + self._rng.randint(1, 16)]

    def _repeat_slice(self, data: bytearray) -> None:
        at = self._at(data)
        piece = bytes(data[at : at + self._rng.randint(1, 64)])
        data[at:at] = piece * self._rng.choice((1, 1, 2, 16))

    def _insert_noise(self, data: bytearray) -> None:
        at = self._at(data)
        data[at:at] = self._rng.randbytes(self._rng.choice((1, 2, 4, 16, 256)))

    def _truncate(self, data: bytearray) -> None:
        del data[self._at(data) :]

    def _splice(self, data: bytearray) -> None:
        other = self._rng.choice(self._pool)
        data[self._at(data) :] = other[self._rng.randrange(len(other) + 1) :]


class Lines:
    """Which lines of meshnode ran: a small coverage by ``sys.settrace``."""

    def __init__(self) -> None:
        self._seen: set[tuple[str, int]] = set()
        self.fresh = False

    def __enter__(self) -> None:
        self.fresh = False
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def __len__(self) -> int:
        return len(self._seen)

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ANN401  # the shape settrace wants
        code = frame.f_code.co_filename
        if event == "call":
            return self._trace if "meshnode" in code else None
        line = (code, frame.f_lineno)
        if event == "line" and line not in self._seen:
            self._seen.add(line)
            self.fresh = True
        return self._trace


def _drive(name: str, one_input: OneInput, corpus_dir: Path, seconds: float, seed: int) -> int:
    seeds = _corpus(corpus_dir)
    mutator, lines, outcomes = Mutator(list(seeds), seed), Lines(), dict[str, int]()
    end, tries, pending = time.monotonic() + seconds, 0, iter(seeds)
    while (data := next(pending, None)) is not None or time.monotonic() < end:
        if data is None:
            data = mutator.breed()
        traced = tries % TRACE_EVERY == 0
        tries += 1
        try:
            if traced:
                with lines:
                    outcome = _outcome(one_input, data)
            else:
                outcome = _outcome(one_input, data)
        except Exception:  # noqa: BLE001  # whatever it is, it is the finding
            return _report(name, data, seed, tries)
        if (traced and lines.fresh) or outcome not in outcomes:
            mutator.keep(data)
        outcomes[outcome] = outcomes.get(outcome, 0) + 1
    told = f"{tries} inputs in {seconds:g} s, seed {seed}, pool {len(mutator)}, lines {len(lines)}"
    print(f"fuzz {name}: {told}, {outcomes}")
    return 0


def _outcome(one_input: OneInput, data: bytes) -> str:
    try:
        one_input(data)
    except RemoteError as error:
        return error.reason
    return "accepted"


def _corpus(corpus_dir: Path) -> list[bytes]:
    return [path.read_bytes() for path in sorted(corpus_dir.iterdir()) if path.is_file()]


def _report(name: str, data: bytes, seed: int, tries: int) -> int:
    traceback.print_exc()
    folder = ROOT / "build" / "fuzz"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
    path.write_bytes(data)
    print(f"fuzz {name}: input {tries} of seed {seed} broke the target; it is kept in {path} (move it to the corpus)")
    return 1
