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
later mutations start from. One that takes more than a tenth of a second of the processor, twice, is a finding too, and
so is a target that takes more than 50 MiB of memory for all of them.

A target that is dear to build gives ``opens`` as well: a session takes many inputs one after the other and ends with
the properties that must hold whatever came. A finding of a session is reduced to the inputs it needs, and kept as a
folder; a folder in the corpus is one session. Now and then an input goes to ``one_input``, on its own. An execution is
one input, wherever it went.

``python tests/fuzz/fuzz_NAME.py SECONDS SEED FILE`` adds what was tried to the counts in FILE (``bench/results``).
"""

import faulthandler
import hashlib
import random
import sys
import time
import traceback
from collections.abc import Callable, Sequence
from pathlib import Path
from types import CodeType, FrameType
from typing import Any, Protocol

from meshnode.model.errors import RemoteError
from tests.fuzz import tally

OneInput = Callable[[bytes], None]


class Session(Protocol):
    """A target that lives on from input to input."""

    def tell(self, data: bytes) -> None: ...

    def end(self) -> None: ...


Opens = Callable[[], Session]

ROOT = Path(__file__).resolve().parents[2]
PRODUCT = f"{ROOT / 'meshnode'}/"
POOL_MAX = 2048
POOL_BYTES_MAX = 8 * 1024 * 1024
INPUT_BYTES_MAX = 64 * 1024
HANG_S = 30.0
SLOW_S = 0.1
GROWN_MIB_MAX = 50.0
WARM_TRIES = 2_000  # before them a target fills its caches
GROWTH_EVERY = 4_096
SESSION_INPUTS = 200
ALONE_EVERY = 500
# Line tracing costs several times the run itself: at first it looks for what to breed from, later now and then.
EARLY_TRIES, EARLY_EVERY, TRACE_EVERY = 20_000, 4, 64
_MORE = 0.5  # how often one more move follows
_SHORTER = 0.75  # how often the shorter of two is bred from: it costs less and says as much
_NUMBERS = (0, 1, 0x7F, 0x80, 0xFF, 0x7FFF, 0x8000, 0xFFFF, 0x7FFFFFFF, 0x80000000, 0xFFFFFFFF)


def main(name: str, one_input: OneInput, corpus_dir: Path, opens: Opens | None = None) -> int:
    """Command line of a fuzz target; the exit status."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.SystemRandom().getrandbits(32)
    campaign = Campaign(name, one_input, corpus_dir, seed, opens)
    status = campaign.run(seconds)
    if len(sys.argv) > 3:
        tally.add(Path(sys.argv[3]), name, campaign.tried(seconds), findings=status)
    return status


def drive(
    name: str, one_input: OneInput, corpus_dir: Path, seconds: float, seed: int = 1, opens: Opens | None = None
) -> int:
    """Fuzz for ``seconds``. Returns 0, or 1 when an input broke the target."""
    return Campaign(name, one_input, corpus_dir, seed, opens).run(seconds)


def replay(one_input: OneInput, corpus_dir: Path, opens: Opens | None = None) -> int:
    """Give every file of the corpus to the target, and every folder to a session; how many there were. A finding
    propagates."""
    seeds, folders = corpus_of(corpus_dir), _folders(corpus_dir)
    for data in seeds:
        outcome_of(one_input, data)
    for inputs in folders:
        assert opens is not None, "a folder is a session"
        played(opens, inputs)
    return len(seeds) + len(folders)


def played(opens: Opens, inputs: Sequence[bytes]) -> None:
    """One session from its first input to its end."""
    session = opens()
    for data in inputs:
        outcome_of(session.tell, data)
    session.end()


class Mutator:
    """Inputs bred from a pool. Equal seeds and equal ``keep`` calls give equal inputs."""

    def __init__(self, pool: list[bytes], seed: int) -> None:
        self._pool = pool or [b""]
        self._bytes = sum(map(len, self._pool))
        self._rng = random.Random(seed)
        self._luck = self._rng.random
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
        if len(self._pool) < POOL_MAX and self._bytes + len(data) <= POOL_BYTES_MAX:
            self._pool.append(data)
            self._bytes += len(data)
            return
        at = int(self._luck() * len(self._pool))
        if self._bytes + len(data) - len(self._pool[at]) <= POOL_BYTES_MAX:
            self._bytes += len(data) - len(self._pool[at])
            self._pool[at] = data

    def breed(self) -> bytes:
        luck, moves = self._luck, self._moves
        data = bytearray(self._parent())
        moves[int(luck() * len(moves))](data)
        while luck() < _MORE:
            moves[int(luck() * len(moves))](data)
        return bytes(data[:INPUT_BYTES_MAX])

    def _parent(self) -> bytes:
        luck, pool = self._luck, self._pool
        first = pool[int(luck() * len(pool))]
        if luck() >= _SHORTER:
            return first
        other = pool[int(luck() * len(pool))]
        return other if len(other) < len(first) else first

    def _at(self, data: bytearray) -> int:
        return int(self._luck() * (len(data) + 1))

    def _flip_bit(self, data: bytearray) -> None:
        if data:
            data[int(self._luck() * len(data))] ^= 1 << int(self._luck() * 8)

    def _set_byte(self, data: bytearray) -> None:
        if data:
            data[int(self._luck() * len(data))] = int(self._luck() * 256)

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
        del data[at : at + 1 + int(self._luck() * 16)]

    def _repeat_slice(self, data: bytearray) -> None:
        at = self._at(data)
        piece = bytes(data[at : at + 1 + int(self._luck() * 64)])
        data[at:at] = piece * self._rng.choice((1, 1, 2, 16))

    def _insert_noise(self, data: bytearray) -> None:
        at = self._at(data)
        data[at:at] = self._rng.randbytes(self._rng.choice((1, 2, 4, 16, 256)))

    def _truncate(self, data: bytearray) -> None:
        del data[self._at(data) :]

    def _splice(self, data: bytearray) -> None:
        other = self._parent()
        data[self._at(data) :] = other[int(self._luck() * (len(other) + 1)) :]


class Lines:
    """Which lines of meshnode ran: a small coverage by ``sys.settrace``. A function all of whose lines ran is left
    alone, so that tracing soon costs little."""

    def __init__(self) -> None:
        self._left: dict[int, set[int]] = {}  # by the id of code that a module keeps
        self._seen: set[tuple[str, int]] = set()
        self.fresh = False

    def __enter__(self) -> None:
        self.fresh = False
        sys.settrace(self._trace)

    def __exit__(self, *_: object) -> None:
        sys.settrace(None)

    def __len__(self) -> int:
        return len(self._seen)

    def of(self, path: Path) -> frozenset[int]:
        """Those of one file."""
        return frozenset(line for file, line in self._seen if file == str(path))

    def _trace(self, frame: FrameType, event: str, argument: Any) -> Any:  # noqa: ANN401  # the shape settrace wants
        code = frame.f_code
        left = self._left.get(id(code))
        if left is None:
            left = lines_of(code) if code.co_filename.startswith(PRODUCT) else set()
            self._left[id(code)] = left
        if event == "line" and frame.f_lineno in left:
            left.remove(frame.f_lineno)
            self._seen.add((code.co_filename, frame.f_lineno))
            self.fresh = True
        return self._trace if left else None


def lines_of(code: CodeType) -> set[int]:
    """Of one function, without the line that begins it."""
    return {line for _, _, line in code.co_lines() if line is not None and line != code.co_firstlineno}


class Campaign:
    """A target, and what was tried on it."""

    def __init__(self, name: str, one_input: OneInput, corpus_dir: Path, seed: int, opens: Opens | None = None) -> None:
        self._name, self._one_input, self._opens = name, one_input, opens
        self._corpus_dir, self._seed = corpus_dir, seed
        self._session: Session | None = None
        self._told: list[bytes] = []
        self._outcomes: dict[str, int] = {}
        self.tries = 0
        self.slowest_s = 0.0
        self._used_s = time.process_time()
        self._warm_mib = self._grown_mib = 0.0

    def run(self, seconds: float) -> int:
        """The exit status."""
        faulthandler.dump_traceback_later(seconds + HANG_S, exit=True)  # an input that never ends is a finding too
        status = self._try_all(seconds)
        faulthandler.cancel_dump_traceback_later()
        return status

    def tried(self, seconds: float) -> tally.Run:
        """What came of it."""
        used_s = time.process_time() - self._used_s
        return tally.Run(self.tries, seconds, used_s, self.slowest_s, self._grown_mib)

    def _try_all(self, seconds: float) -> int:
        for inputs in _folders(self._corpus_dir):
            assert self._opens is not None, "a folder is a session"
            played(self._opens, inputs)
        seeds = corpus_of(self._corpus_dir)
        mutator, lines, data = Mutator(list(seeds), self._seed), Lines(), b""
        end, pending = time.perf_counter() + seconds, iter(seeds)
        try:
            while (given := next(pending, None)) is not None or time.perf_counter() < end:
                data = mutator.breed() if given is None else given
                outcome = self._try(data, lines)
                if lines.fresh or outcome not in self._outcomes:
                    mutator.keep(data)
                self._outcomes[outcome] = self._outcomes.get(outcome, 0) + 1
                if self.tries % GROWTH_EVERY == 0 or self.tries == WARM_TRIES:
                    self._weigh()
            self._end_session()
            self._weigh()
        except Exception:  # noqa: BLE001  # whatever it is, it is the finding
            return self._report(data)
        told = f"{self.tries} inputs in {seconds:g} s, seed {self._seed}, pool {len(mutator)}, lines {len(lines)}"
        most = f"slowest {self.slowest_s * 1000:.1f} ms, grew {self._grown_mib:.1f} MiB"
        print(f"fuzz {self._name}: {told}, {most}, {self._outcomes}")
        return 0

    def _weigh(self) -> None:
        """The most memory it ever had, against what it had when it was warm."""
        if self.tries < WARM_TRIES:
            return
        self._warm_mib = self._warm_mib or peak_mib()
        self._grown_mib = peak_mib() - self._warm_mib
        assert self._grown_mib <= GROWN_MIB_MAX, f"{self._grown_mib:.0f} MiB more than after {WARM_TRIES} inputs"

    def _try(self, data: bytes, lines: Lines) -> str:
        lines.fresh = False
        self.tries += 1
        alone = self._opens is None or self.tries % ALONE_EVERY == 0
        target = self._one_input if alone else self._in_session
        if self.tries % (EARLY_EVERY if self.tries < EARLY_TRIES else TRACE_EVERY) == 1:
            with lines:
                return outcome_of(target, data)
        began_s = time.perf_counter()
        outcome = outcome_of(target, data)
        took_s = time.perf_counter() - began_s
        if took_s > SLOW_S:  # or others had the processor, or this process was collecting garbage: ask its own clock
            began_s = time.thread_time()
            outcome_of(self._one_input, data)
            took_s = time.thread_time() - began_s
            assert took_s <= SLOW_S, f"{took_s * 1000:.0f} ms for one input"
        self.slowest_s = max(self.slowest_s, took_s)
        return outcome

    def _in_session(self, data: bytes) -> None:
        assert self._opens is not None
        if self._session is None:
            self._session, self._told = self._opens(), []
        self._told.append(data)
        try:
            self._session.tell(data)
        finally:
            if len(self._told) >= SESSION_INPUTS:
                self._end_session()

    def _end_session(self) -> None:
        if self._session is not None:
            self._session.end()
            self._session = None

    def _report(self, data: bytes) -> int:
        traceback.print_exc()
        inputs = [data]
        if self._opens is not None and not breaks(self._alone, inputs):
            inputs = shortest(self._opens, self._told)
        folder = ROOT / "build" / "fuzz"
        path = folder / f"{self._name}-{hashlib.sha256(b''.join(inputs)).hexdigest()[:12]}"
        if len(inputs) == 1:
            folder.mkdir(parents=True, exist_ok=True)
            path.write_bytes(inputs[0])
        else:
            path.mkdir(parents=True, exist_ok=True)
            for number, each in enumerate(inputs):
                (path / f"{number:03}").write_bytes(each)
        told = f"input {self.tries} of seed {self._seed} broke the target; it is kept in {path} (move it to the corpus)"
        print(f"fuzz {self._name}: {told}")
        return 1

    def _alone(self, inputs: Sequence[bytes]) -> None:
        outcome_of(self._one_input, inputs[0])


def breaks(play: Callable[[Sequence[bytes]], None], inputs: Sequence[bytes]) -> bool:
    try:
        play(inputs)
    except Exception:  # noqa: BLE001  # a finding may be anything
        return True
    return False


def shortest(opens: Opens, inputs: Sequence[bytes]) -> list[bytes]:
    """The inputs a finding of a session needs (Zeller, "Simplifying and isolating failure-inducing input", 2002)."""
    kept, step = list(inputs), max(1, len(inputs) // 2)
    while True:
        for at in range(len(kept) - step, -1, -step):
            fewer = kept[:at] + kept[at + step :]
            if fewer and breaks(lambda each: played(opens, each), fewer):
                kept = fewer
        if step == 1:
            return kept
        step //= 2


def peak_mib() -> float:
    """The most memory this process ever had."""
    (line,) = [each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith("VmHWM:")]
    return int(line.split()[1]) / 1024


def outcome_of(one_input: OneInput, data: bytes) -> str:
    """ "accepted", or the name of its refusal; a finding propagates."""
    try:
        one_input(data)
    except RemoteError as error:
        return error.reason
    return "accepted"


def corpus_of(corpus_dir: Path) -> list[bytes]:
    """Its inputs, without the sessions."""
    return [path.read_bytes() for path in sorted(corpus_dir.iterdir()) if path.is_file()]


def _folders(corpus_dir: Path) -> list[list[bytes]]:
    return [corpus_of(path) for path in sorted(corpus_dir.iterdir()) if path.is_dir()]
