"""A real warden to which whatever was left to it shows no environment until a file is there, as one in the middle of an
exec on a busy machine."""

import sys
from pathlib import Path

from meshnode.host import strays, warden, wardenrun

SHOWN = "shown"  # beside the run directory


def hides(pid: int) -> str | None:
    return strays.mark_in(pid) if (Path(sys.argv[1]).parent / SHOWN).exists() else None


if __name__ == "__main__":
    wardenrun.mark_in = hides
    warden.main()
