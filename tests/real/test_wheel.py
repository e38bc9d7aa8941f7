"""The wheel holds the product and nothing else."""

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.real


def test_the_wheel_holds_the_product_and_no_planted_fault(tmp_path: Path) -> None:
    command = [
        sys.executable,
        "-m",
        "pip",
        "wheel",
        "-q",
        "--no-deps",
        "--no-build-isolation",
        "-w",
        str(tmp_path),
        ".",
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=120)
    (wheel,) = tmp_path.glob("*.whl")
    names = zipfile.ZipFile(wheel).namelist()
    tops = sorted({name.split("/")[0] for name in names if ".dist-info" not in name})
    assert tops == ["hw", "meshnode"]
    assert not [name for name in names if "fault" in name and name != "meshnode/sim/faults.py"]
    assert any(name.endswith("dist-info/licenses/LICENSE") for name in names)
    sources = {str(path.relative_to(ROOT)) for top in tops for path in (ROOT / top).rglob("*.py")}
    assert sources <= set(names)
