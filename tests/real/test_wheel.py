"""The wheel holds the product and nothing else."""

import posixpath
import re
import shutil
import sys
import zipfile
from pathlib import Path

import pytest

from tests.patience import finished

ROOT = Path(__file__).resolve().parents[2]
PAGE = "cloud_gateway/page/"
pytestmark = pytest.mark.real


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    """As ``make wheel`` builds it: setuptools would put what an older build left behind into the new one."""
    shutil.rmtree(ROOT / "build" / "lib", ignore_errors=True)
    into = tmp_path_factory.mktemp("wheel")
    command = [sys.executable, "-m", "pip", "wheel", "-q", "--no-deps", "--no-build-isolation", "-w", str(into), "."]
    finished(command, cwd=ROOT, check=True, within_s=120.0)
    (built,) = into.glob("*.whl")
    return zipfile.ZipFile(built)


def test_the_wheel_holds_the_product_and_no_planted_fault(wheel: zipfile.ZipFile) -> None:
    names = wheel.namelist()
    tops = sorted({name.split("/")[0] for name in names if ".dist-info" not in name})
    assert tops == ["cloud_gateway", "hw", "meshnode"]
    assert not [name for name in names if "fault" in name and name != "meshnode/sim/faults.py"]
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
    sources = {str(path.relative_to(ROOT)) for top in tops for path in (ROOT / top).rglob("*.py")}
    assert {name for name in sources if "/node_modules/" not in name} <= set(names)


def test_the_wheel_holds_the_page_and_all_that_it_loads(wheel: zipfile.ZipFile) -> None:
    names = {name.removeprefix(PAGE) for name in wheel.namelist() if name.startswith(PAGE)}
    index = wheel.read(f"{PAGE}index.html").decode()
    wanted = set(re.findall(r'(?:href|src)="([^"#]+)"', index)) | set(re.findall(r'"\./(vendor/[^"]+)"', index))
    for name in [name for name in names if re.fullmatch(r"(app|(lib|parts|views)/\w+)\.js", name)]:
        text = wheel.read(PAGE + name).decode()
        for found in re.findall(r"""(?:from|import\()\s*"(\.{1,2}/[^"]+)\"""", text):
            wanted.add(posixpath.normpath(posixpath.join(posixpath.dirname(name), found)))
    assert len(wanted) > 30
    assert sorted(wanted - names) == []
    kinds = {"", "css", "lib", "parts", "views", "vendor"}
    assert not [name for name in names if name.rpartition("/")[0] not in kinds]


def test_libraries_of_others_come_with_their_licences(wheel: zipfile.ZipFile) -> None:
    licences = wheel.read(f"{PAGE}vendor/licenses.txt").decode()
    files = {name.rpartition("/")[2] for name in wheel.namelist() if name.startswith(f"{PAGE}vendor/")}
    code = {name for name in files if name.endswith((".js", ".css"))}
    assert code == {"preact.js", "hooks.js", "htm.js", "signals.js", "signals-core.js", "uplot.js", "uplot.css"}
    for package, licence in {
        "preact 11": "MIT License", "htm 3": "Apache License", "@preact/signals 2": "MIT License",
        "@preact/signals-core 1": "MIT License", "uplot 1": "MIT License",
    }.items():  # fmt: skip
        _, found, told = licences.partition(f"{package}.")
        assert found, f"no licence of {package}"
        assert licence.lower().removesuffix(" license") in told.split("-" * 100)[0].lower(), package
    listed = set(re.findall(r"[\w-]+\.(?:js|css)", "\n".join(re.findall(r"^files: (.*)$", licences, re.MULTILINE))))
    assert listed == code
