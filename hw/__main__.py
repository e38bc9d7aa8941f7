"""``python -m hw [--root DIR]``: the report of this machine, or of a recorded tree, as JSON for people."""

import argparse
import sys
from pathlib import Path

import msgspec

from hw.report import probe


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m hw", description="What machine is this? Prints JSON.")
    parser.add_argument("--root", type=Path, default=Path("/"), help="a recorded tree of another machine instead of /")
    root: Path = parser.parse_args().root
    if not root.is_dir():
        sys.stderr.write(f"hw: {root} is not a directory; give one that holds proc/, sys/ and etc/ of a machine\n")
        return 2
    sys.stdout.write(msgspec.json.format(msgspec.json.encode(probe(root)), indent=2).decode() + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
