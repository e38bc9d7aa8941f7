"""A directory of private files that appears whole or not at all."""

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path

_PREFIX = ".new-"


def create_directory(target: Path, files: Mapping[str, bytes]) -> None:
    """Make ``target`` with these files, each 0600, all of it on the disk when this returns.

    Raises ``OSError``, ``FileExistsError`` among them, and then leaves nothing behind.
    """
    made: list[Path] = []
    built: Path | None = None
    try:
        _make_parents(target.parent, made)
        _sweep(target)
        built = building = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{target.name}-", dir=target.parent))  # 0700
        for name, content in files.items():
            _write_private(building / name, content)
        _sync(building)
        _rename_new(building, target)
        built = target
        for parent in {path.parent: None for path in (target, *made)}:
            _sync(parent)  # its name, too, must be on the disk; if not, nobody is told that it is there
    except BaseException:
        if built is not None:
            shutil.rmtree(built, ignore_errors=True)
        _remove_empty(made)
        raise


def replace_file(target: Path, content: bytes) -> None:
    """Give one private file new content; a crash leaves the old one or the new one."""
    building = target.with_name(f"{_PREFIX}{target.name}")
    try:
        building.unlink(missing_ok=True)
        _write_private(building, content)
        building.rename(target)
        _sync(target.parent)
    except BaseException:
        building.unlink(missing_ok=True)
        raise


def _rename_new(building: Path, target: Path) -> None:
    """``rename`` would quietly take the place of an empty directory."""
    if target.exists():
        raise FileExistsError(f"{target} is there already")
    building.rename(target)


def _write_private(path: Path, content: bytes) -> None:
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with open(descriptor, "wb") as file:  # noqa: PTH123 - a descriptor, not a path
        file.write(content)
        file.flush()
        os.fsync(descriptor)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _make_parents(directory: Path, made: list[Path]) -> None:
    """Create what is missing, private; what was created is added to the front of ``made``, so the deepest is first."""
    for path in reversed([path for path in (directory, *directory.parents) if not path.exists()]):
        path.mkdir(mode=0o700)
        made.insert(0, path)


def _remove_empty(directories: list[Path]) -> None:
    for directory in directories:
        try:
            directory.rmdir()
        except OSError:
            return


def _sweep(target: Path) -> None:
    """What an earlier attempt left when the power went."""
    for leftover in target.parent.glob(f"{_PREFIX}{target.name}-*"):
        shutil.rmtree(leftover, ignore_errors=True)
