"""Processes that a daemon has started, found in /proc by the mark that all of them carry in their environment."""

from pathlib import Path

from meshnode.host.launch import MARK, mark_of


def marked(run_directory: str) -> list[int]:
    """The warden of the node with this run directory, and its agents with all their descendants."""
    wanted = f"{MARK}={mark_of(run_directory).partition('.')[0]}.".encode()
    entries = (entry for entry in Path("/proc").iterdir() if entry.name.isdecimal())
    return sorted(int(entry.name) for entry in entries if _carries(entry, wanted))


def _carries(entry: Path, wanted: bytes) -> bool:
    try:
        environment = (entry / "environ").read_bytes()
    except OSError:  # gone, or somebody else's
        return False
    return any(word.startswith(wanted) for word in environment.split(b"\0"))
