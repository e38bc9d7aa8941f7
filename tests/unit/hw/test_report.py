"""What machine is this: recorded trees of machines, each with what a person would read off its label."""

import json
import shutil
import sys
from pathlib import Path

import msgspec
import psutil
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hw import __main__ as command
from hw.accelerators import Accelerator
from hw.load import LoadSampler
from hw.network import Interface
from hw.report import probe

TREES = Path(__file__).parents[2] / "fixtures" / "hw"
NAMES = sorted(path.name for path in TREES.iterdir() if path.is_dir())
FILES = sorted(path.relative_to(TREES) for path in TREES.rglob("*") if path.is_file() and path.name != "SOURCES.md")


def facts(name: str) -> dict:
    return json.loads(probe(TREES / name).to_json(4096))


def test_orin_nano_is_named_with_its_release_mode_and_shared_memory() -> None:
    told = facts("jetson-orin-nano-jp62")
    assert told["machine"] == {
        "kind": "jetson", "model": "NVIDIA Jetson Orin Nano Engineering Reference Developer Kit Super",
        "arch": "aarch64", "kernel": "5.15.148-tegra", "os": "Ubuntu 22.04.5 LTS",
    }  # fmt: skip
    assert told["jetson"] == {
        "soc": "tegra234", "l4t": "36.4.3", "jetpack": "6.2", "power_mode_id": 2, "power_mode": "MAXN_SUPER",
        "cuda": "12.6.11",
    }  # fmt: skip
    assert told["cpu"] == {
        "logical": 6, "usable": 6.0, "model": "Cortex-A78AE", "max_mhz": 1728, "features": ["neon", "dotprod"],
    }  # fmt: skip
    assert told["accelerators"] == [
        {
            "kind": "cuda", "index": 0, "name": "Orin (integrated)", "memory_bytes": 7802928 * 1024,
            "memory_shared": True, "capability": "8.7", "driver": "540.4.0",
        }
    ]  # fmt: skip
    assert [(one["name"], one["kind"], one["up"]) for one in told["network"]] == [
        ("can0", "can", False), ("enP8p1s0", "wired", True), ("wlP1p1s0", "wifi", False),
    ]  # fmt: skip
    assert told["disks"][0] == {"mount": "/", "kind": "nvme", "total_bytes": 975175680 * 512}


def test_agx_orin_counts_the_processors_its_power_mode_left_on() -> None:
    told = facts("jetson-agx-orin-jp5")
    assert (told["cpu"]["logical"], told["cpu"]["usable"]) == (8, 8.0)
    assert (told["jetson"]["l4t"], told["jetson"]["jetpack"], told["jetson"]["power_mode"]) == (
        "35.4.1",
        "5.1.2",
        "MODE_30W",
    )
    assert told["memory"]["limit_bytes"] == told["memory"]["total_bytes"] == 31355208 * 1024
    assert told["psi"] is False
    assert "driver" not in told["accelerators"][0]
    assert [disk["kind"] for disk in told["disks"]] == ["emmc", "nvme"]


def test_a_release_that_is_not_in_the_table_has_no_jetpack(tmp_path: Path) -> None:
    tree = shutil.copytree(TREES / "jetson-thor-jp7", tmp_path / "thor")
    assert facts("jetson-thor-jp7")["jetson"]["jetpack"] == "7.0"
    (tree / "etc/nv_tegra_release").write_text("# R41 (release), REVISION: 1.0, BOARD: generic\n")
    told = probe(tree).jetson
    assert (told.l4t, told.jetpack, told.soc) == ("41.1.0", None, "tegra264")


def test_raspberry_pi_is_known_by_its_device_tree() -> None:
    told = facts("raspberry-pi-5")
    assert told["machine"]["kind"] == "raspberry-pi"
    assert told["machine"]["model"] == "Raspberry Pi 5 Model B Rev 1.0"
    assert told["cpu"]["model"] == "Cortex-A76"
    assert "accelerators" not in told
    assert "jetson" not in told


def test_a_container_on_cgroup_v2_tells_its_limits_not_the_servers() -> None:
    told = facts("x86-server-cgroup2")
    assert told["cpu"]["logical"] == 16
    assert told["cpu"]["usable"] == 1.5
    assert told["memory"] == {"total_bytes": 131842908 * 1024, "limit_bytes": 2 << 30}
    assert told["container"] == "docker"
    assert told["psi"] is True
    assert "limits:cgroup-v2" in told["sources"]
    assert [disk["mount"] for disk in told["disks"]] == ["/", "/data"]


def test_without_nvml_a_card_has_a_name_and_no_invented_memory() -> None:
    told = facts("x86-server-cgroup2")
    assert told["accelerators"] == [
        {
            "kind": "cuda", "index": 0, "name": "NVIDIA L4", "driver": "550.127.05",
            "uuid": "GPU-00000000-1111-2222-3333-444444444444",
        }
    ]  # fmt: skip
    assert any("meshnode[nvidia]" in warning for warning in told["warnings"])


def test_a_card_whose_device_files_are_not_in_the_container_is_a_warning_not_an_accelerator(tmp_path: Path) -> None:
    tree = shutil.copytree(TREES / "x86-server-cgroup2", tmp_path / "server")
    (tree / "dev/nvidiactl").unlink()
    report = probe(tree)
    assert report.accelerators == ()
    assert "/dev/nvidiactl" in report.warnings[0]


def test_a_card_without_driver_is_a_warning(tmp_path: Path) -> None:
    slot = tmp_path / "sys/bus/pci/devices/0000:01:00.0"
    slot.mkdir(parents=True)
    (slot / "vendor").write_text("0x10de\n")
    (slot / "class").write_text("0x030200\n")
    assert probe(tmp_path).warnings == ("NVIDIA device at 0000:01:00.0 has no driver loaded",)


def test_amd_cards_are_listed_where_they_can_compute(tmp_path: Path) -> None:
    card = tmp_path / "sys/class/drm/card1/device"
    card.mkdir(parents=True)
    (card / "vendor").write_text("0x1002\n")
    (card / "device").write_text("0x744c\n")
    (card / "mem_info_vram_total").write_text("25753026560\n")
    assert probe(tmp_path).accelerators == ()
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kfd").touch()
    assert probe(tmp_path).accelerators == (
        Accelerator(kind="rocm", index=0, name="AMD 0x744c", memory_bytes=25753026560),
    )


def test_a_container_on_cgroup_v1_finds_its_limits_though_it_is_told_the_hosts_path() -> None:
    told = facts("x86-guest-cgroup1")
    assert told["cpu"]["usable"] == 0.5
    assert told["memory"]["limit_bytes"] == 512 << 20
    assert told["machine"] == {
        "kind": "virtual", "model": "Amazon EC2 m5.xlarge", "arch": "x86_64", "kernel": "5.4.0-1103-aws",
        "os": "Alpine Linux v3.20",
    }  # fmt: skip
    assert told["network"] == [{"name": "eth0", "kind": "virtual", "up": True, "speed_mbps": 10000}]


def test_a_laptop_is_a_laptop_and_its_radios_are_told_apart() -> None:
    told = facts("laptop-on-battery")
    assert told["machine"]["kind"] == "laptop"
    kinds = {one["name"]: one["kind"] for one in told["network"]}
    assert kinds == {"enp0s31f6": "wired", "wlp0s20f3": "wifi", "wwan0": "cellular", "tailscale0": "tunnel"}
    assert "free_bytes" not in told["disks"][0]


def test_a_card_that_does_not_know_its_speed_has_none(tmp_path: Path) -> None:
    tree = shutil.copytree(TREES / "laptop-on-battery", tmp_path / "laptop")
    card = tree / "sys/class/net/enp0s31f6"
    (card / "operstate").write_text("up\n")
    for unknown in ("-1", "4294967295"):
        (card / "speed").write_text(f"{unknown}\n")
        assert probe(tree).network[0] == Interface(name="enp0s31f6", kind="wired", up=True)


def test_a_guest_without_a_hypervisor_flag_is_known_by_its_maker(tmp_path: Path) -> None:
    (tmp_path / "sys/class/dmi/id").mkdir(parents=True)
    (tmp_path / "sys/class/dmi/id/sys_vendor").write_text("QEMU\n")
    (tmp_path / "sys/class/dmi/id/product_name").write_text("QEMU Virtual Machine\n")
    named = probe(tmp_path).machine
    assert (named.kind, named.model) == ("virtual", "QEMU Virtual Machine")


def test_an_empty_tree_is_a_machine_of_which_nothing_is_known(tmp_path: Path) -> None:
    told = json.loads(probe(tmp_path).to_json(4096))
    assert told == {"machine": {"kind": "generic"}, "cpu": {}, "memory": {}, "psi": False, "container": "none"}


@pytest.mark.parametrize("name", NAMES)
def test_of_a_recorded_tree_only_its_files_are_asked(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_args: object) -> None:
        raise AssertionError("the machine that runs the test was asked")

    for function in (
        "cpu_count",
        "virtual_memory",
        "cpu_freq",
        "disk_partitions",
        "net_if_stats",
        "sensors_temperatures",
    ):
        monkeypatch.setattr(psutil, function, refuse)
    monkeypatch.setattr("os.statvfs", refuse)
    monkeypatch.setattr("platform.machine", refuse)
    monkeypatch.setattr("platform.release", refuse)
    probe(TREES / name)
    LoadSampler(TREES / name).sample()


@pytest.mark.parametrize("name", NAMES)
def test_every_tree_names_its_sources_and_carries_no_address(name: str) -> None:
    assert "composed" in (TREES / name / "SOURCES.md").read_text()
    assert not list((TREES / name).rglob("address"))
    assert not list((TREES / name).rglob("serial-number"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("bytes_max", [4096, 700, 400, 250, 2])
def test_the_json_fits_and_is_an_object(name: str, bytes_max: int) -> None:
    encoded = probe(TREES / name).to_json(bytes_max)
    assert len(encoded) <= bytes_max
    assert isinstance(json.loads(encoded), dict)


def test_what_matters_least_is_dropped_first() -> None:
    report = msgspec.structs.replace(
        probe(TREES / "x86-server-cgroup2"),
        warnings=tuple("w" * 90 for _ in range(40)),
        network=tuple(Interface(name=f"eth{n}", kind="wired") for n in range(8)),
        accelerators=tuple(
            Accelerator(kind="cuda", index=n, name="NVIDIA H200", uuid="GPU-" + "0" * 36) for n in range(16)
        ),
    )
    told = json.loads(report.to_json(4096))
    assert len(told["accelerators"]) == 16
    assert told["memory"]["limit_bytes"] == 2 << 30
    assert "warnings" not in told
    assert "sources" not in told


def test_this_machine_is_known_well_enough_to_place_work_on_it() -> None:
    report = probe(Path("/"))
    assert 0 < report.cpu.usable <= report.cpu.logical == psutil.cpu_count()
    assert 0 < report.memory.limit_bytes <= report.memory.total_bytes == psutil.virtual_memory().total
    assert report.disks[0].mount == "/"
    assert 0 <= report.disks[0].free_bytes <= report.disks[0].total_bytes


def test_the_command_prints_the_report_of_a_tree(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(sys, "argv", ["hw", "--root", str(TREES / "raspberry-pi-5")])
    assert command.main() == 0
    assert json.loads(capsys.readouterr().out)["machine"]["kind"] == "raspberry-pi"


def test_the_command_refuses_what_is_no_tree(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    monkeypatch.setattr(sys, "argv", ["hw", "--root", str(tmp_path / "none")])
    assert command.main() == 2
    assert "is not a directory" in capsys.readouterr().err


@pytest.fixture(scope="module")
def trees(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Copies that may be spoilt."""
    return shutil.copytree(TREES, tmp_path_factory.mktemp("hw") / "trees")


JUNK = [b"-1\n", b"9" * 5000, b"9223372036854775807", b"max", b":::\n:::", b"0" * 20, b"\0" * 9, b"0-4294967295"]


@settings(max_examples=200, deadline=None)
@given(place=st.sampled_from(FILES), junk=st.binary(max_size=300) | st.sampled_from(JUNK))
def test_no_file_full_of_junk_breaks_the_probe_or_the_load(trees: Path, place: Path, junk: bytes) -> None:
    tree, file = trees / place.parts[0], trees / place
    file.write_bytes(junk)
    assert len(probe(tree).to_json(4096)) <= 4096
    now = iter((0.0, 20.0))
    sampler = LoadSampler(tree, clock_s=lambda: next(now))
    assert len(sampler.sample().load.pack()) == len(sampler.sample().load.pack()) == 13
    shutil.copy(TREES / place, file)
