"""The gateway gives memory back that it needed for a moment."""

import sys

import pytest

from tests.demo.fleet import ROOT
from tests.patience import finished

# A large answer, and then smaller ones: by default malloc takes the large one for a sign that more of them will come.
_ANSWERS = """
import sys
from cloud_gateway.memory import be_frugal
if sys.argv[1] == "frugal":
    assert be_frugal()
def resident_kib():
    told = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(told["VmRSS"].split()[0])
before = resident_kib()
large = b"x" * (30 << 20)
del large
smaller = [b"%d" % number * (1 << 20) for number in range(8)]
del smaller
print(resident_kib() - before)
"""


# Many texts, and every hundredth of them is kept: what lies free is nowhere at the end.
_HOLES = """
import sys
from cloud_gateway.memory import be_frugal, trim
assert be_frugal()
def resident_kib():
    told = dict(line.split(":", 1) for line in open("/proc/self/status"))
    return int(told["VmRSS"].split()[0])
before = resident_kib()
texts = [b"%d" % number * 1024 for number in range(10_000)]
kept = texts[::100]
del texts
if sys.argv[1] == "trimmed":
    trim()
print(resident_kib() - before)
"""


def _left_kib(how: str, program: str = _ANSWERS) -> int:
    done = finished([sys.executable, "-c", program, how], cwd=ROOT)
    if "AssertionError" in done.stderr:
        pytest.skip("this C library has no mallopt")
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


def test_what_answers_took_goes_back_to_the_system() -> None:
    assert _left_kib("frugal") < 2 * 1024 < _left_kib("as it was")


def test_what_lies_free_between_what_is_used_goes_back_too() -> None:
    assert _left_kib("trimmed", _HOLES) < 8 * 1024 < 24 * 1024 < _left_kib("as it was", _HOLES)
