"""The limit of open files: raised as far as it goes, and told when that is not far."""

import json
import sys

from meshnode.host.openfiles import WANTED, objection
from tests.patience import finished

ASK = """
import json, resource, sys
from meshnode.host.openfiles import raise_limit
soft, hard = map(int, sys.argv[1:])
resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
print(json.dumps([raise_limit(), resource.getrlimit(resource.RLIMIT_NOFILE)]))
"""


def raised(soft: int, hard: int) -> tuple[int, list[int]]:
    """In a process of its own: a hard limit that was lowered stays so."""
    done = finished([sys.executable, "-c", ASK, str(soft), str(hard)], check=True)
    limit, limits = json.loads(done.stdout)
    return limit, limits


def test_the_soft_limit_becomes_the_hard_one() -> None:
    assert raised(200, 512) == (512, [512, 512])
    assert raised(300, 300) == (300, [300, 300])


def test_a_limit_that_is_too_low_is_told_with_its_number_and_what_to_do() -> None:
    assert objection(WANTED) == ""
    told = objection(512)
    assert "512" in told and str(WANTED) in told and "LimitNOFILE" in told and "ulimit" in told
