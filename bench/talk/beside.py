"""The environment of the anchors: packages in one of their own, a broker of Debian's, a program compiled here.

Made once under ``.venvs/talk`` and ``bench/out/talk``; what cannot be had is named, and the rows of it say so.
"""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
LIMIT = ROOT / "bench" / "out" / "talk" / "limit"
SOURCE = Path(__file__).parent / "anchors" / "limit.c"
DEBIAN = ("gcc", "libc6-dev", "libssl-dev", "nats-server")
INSTALL_S = 600


@dataclass(frozen=True, slots=True)
class Environment:
    """Packages apart from ours."""

    folder: Path
    packages: tuple[str, ...]

    @property
    def python(self) -> Path:
        return self.folder / "bin" / "python"

    def prepare(self) -> bool:
        """Install what is missing. Whether all is there; what fails is told here, and again by whoever asks for it."""
        stamp, wanted = self.folder / "talk.stamp", " ".join(self.packages)
        if stamp.exists() and stamp.read_text() == wanted:
            return True
        print(f"setting up {self.folder.relative_to(ROOT)} (once)", file=sys.stderr)
        install = [str(self.python), "-m", "pip", "install", "-q", "--disable-pip-version-check", *self.packages]
        if not (_told([sys.executable, "-m", "venv", "--clear", str(self.folder)]) and _told(install)):
            return False
        stamp.write_text(wanted)
        return True


PACKAGES = ("nats-py==2.16.0", "grpcio==1.85.1", "eclipse-zenoh==1.10.2", "pyzmq==27.3.0")
TALK = Environment(ROOT / ".venvs" / "talk", PACKAGES)
AUTOGEN = Environment(ROOT / ".venvs" / "autogen", ("autogen-core==0.7.5", "autogen-ext[grpc]==0.7.5"))
PYTHON = TALK.python


def prepare() -> None:
    """Install and compile what is missing."""
    TALK.prepare()
    absent = shutil.which("gcc") is None or shutil.which("nats-server") is None
    if (absent or not Path("/usr/include/openssl/ssl.h").exists()) and os.geteuid() == 0 and shutil.which("apt-get"):
        _told(["apt-get", "install", "-y", "-qq", *DEBIAN])
    if not LIMIT.exists() or LIMIT.stat().st_mtime < SOURCE.stat().st_mtime:
        LIMIT.parent.mkdir(parents=True, exist_ok=True)
        _told(["gcc", "-O2", "-o", str(LIMIT), str(SOURCE), "-lssl", "-lcrypto"])


def _told(command: list[str]) -> bool:
    """Whether it went well; what it said otherwise."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_S, check=False)
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{command[0]}: {error}", file=sys.stderr)
        return False
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["no word"])[-1][:200]
        print(f"{Path(command[0]).name} ended with {done.returncode}: {last}", file=sys.stderr)
    return not done.returncode
