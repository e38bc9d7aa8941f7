"""A real daemon whose disk is full, or whose core is broken, while a file is there.

``python -m tests.real.faulty_daemon full-disk|broken-core FILE --dir DIR ...``
"""

import errno
import os
import sys
from dataclasses import replace
from pathlib import Path

from meshnode.crdt.envelope import CONTEXT
from meshnode.daemon.main import run
from meshnode.daemon.wiring import AS_BUILT, Adapt
from meshnode.kernel.journal import Disk
from meshnode.node.config import NodePorts


class FullDisk:
    """Takes nothing while ``sign`` exists, as a disk without space; reading and cutting go on."""

    def __init__(self, disk: Disk, sign: Path) -> None:
        self._disk, self._sign = disk, sign

    def read(self) -> bytes:
        return self._disk.read()

    def append(self, data: bytes) -> None:
        self._room()
        self._disk.append(data)

    def sync(self) -> None:
        self._disk.sync()

    def replace(self, data: bytes) -> None:
        self._room()
        self._disk.replace(data)

    def truncate(self, length: int) -> None:
        self._disk.truncate(length)

    def _room(self) -> None:
        if self._sign.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


class BrokenSigner:
    """Signs until ``sign`` exists; then an assertion of ours fails, deep in the core: when a document is written, so
    that it is the one who asked for that who waits. A daemon signs at any moment."""

    def __init__(self, ports: NodePorts, sign: Path) -> None:
        self._signer, self._sign = ports.signer, sign
        self.node, self.public_key = ports.signer.node, ports.signer.public_key

    def sign(self, context: str, body: bytes) -> bytes:
        assert context != CONTEXT or not self._sign.exists(), "planted"
        return self._signer.sign(context, body)


def adapt(fault: str, sign: Path) -> Adapt:
    if fault == "full-disk":
        return replace(AS_BUILT, disk=lambda disk: FullDisk(disk, sign))
    assert fault == "broken-core"
    return replace(AS_BUILT, ports=lambda ports: replace(ports, signer=BrokenSigner(ports, sign)))


if __name__ == "__main__":
    status = run(sys.argv[3:], adapt(sys.argv[1], Path(sys.argv[2])))
    sys.stdout.flush()
    os._exit(status)
