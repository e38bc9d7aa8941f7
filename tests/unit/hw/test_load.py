"""How busy: recorded trees are changed between two looks, as a kernel changes its files."""

import gc
import shutil
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from hw.load import SLOW_EVERY_S, LoadSampler, LoadVector

TREES = Path(__file__).parents[2] / "fixtures" / "hw"


class Bench:
    """A copy of a tree, a clock, and a sampler that looked once."""

    def __init__(self, tree: Path) -> None:
        self.tree, self.now_s = tree, 100.0
        self.sampler = LoadSampler(tree, clock_s=lambda: self.now_s)
        self.first = self.sampler.sample().load

    def write(self, path: str, text: str) -> None:
        (self.tree / path).write_text(text)

    def replace(self, path: str, before: str, after: str) -> None:
        text = (self.tree / path).read_text()
        assert before in text
        self.write(path, text.replace(before, after))

    def after(self, seconds: float) -> LoadVector:
        self.now_s += seconds
        return self.sampler.sample().load


Machine = Callable[[str], Bench]


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return lambda name: Bench(Path(shutil.copytree(TREES / name, tmp_path / name)))


def test_a_rate_is_not_known_at_the_first_look(machine: Machine) -> None:
    first = machine("raspberry-pi-5").first
    assert (first.cpu_percent, first.received_kib_s, first.sent_kib_s) == (None, None, None)
    assert first.load_average == 0.08
    assert first.disk_percent is None


def test_processor_time_between_two_looks(machine: Machine) -> None:
    bench = machine("raspberry-pi-5")
    bench.write("proc/stat", "cpu  12100 0 6000 800300 40 0 12 0 0 0\ncpu0 1 0 0 0 0 0 0 0 0 0\nintr 5\n")
    assert bench.after(2.0).cpu_percent == 25.0


def test_waiting_for_a_disk_is_not_work(machine: Machine) -> None:
    bench = machine("raspberry-pi-5")
    bench.write("proc/stat", "cpu  12100 0 6000 800000 340 0 12 0 0 0\nintr 5\n")
    assert bench.after(2.0).cpu_percent == 25.0


def test_a_look_too_soon_after_the_last_gives_no_rate_and_spoils_none(machine: Machine) -> None:
    bench = machine("raspberry-pi-5")
    text = (bench.tree / "proc/net/dev").read_text()
    bench.write("proc/net/dev", text.replace("eth0: 1000000", "eth0: 1102400"))
    assert bench.after(0.05).received_kib_s is None
    assert bench.after(1.95).received_kib_s == pytest.approx(50.0)


def test_only_the_allowed_processors_count(machine: Machine) -> None:
    bench = machine("raspberry-pi-5")
    bench.write("proc/self/status", "Cpus_allowed_list:\t2-3\n")
    sampler = LoadSampler(bench.tree, clock_s=lambda: bench.now_s)
    assert sampler.sample().cpus == 2.0
    busy = "cpu0 90000 0 0 0 0 0 0 0\ncpu1 90000 0 0 0 0 0 0 0\n"
    mine = "cpu2 3030 0 1500 200070 10 0 3 0\ncpu3 3050 0 1500 200050 10 0 3 0\n"
    bench.write("proc/stat", f"cpu  1 1 1 1 1 1 1 1\n{busy}{mine}intr 1\n")
    bench.now_s += 2
    assert sampler.sample().load.cpu_percent == 40.0


def test_under_a_quota_the_own_time_counts_against_the_quota(machine: Machine) -> None:
    bench = machine("x86-server-cgroup2")
    bench.replace("sys/fs/cgroup/cpu.stat", "usage_usec 40000000", "usage_usec 41500000")
    assert bench.after(2.0).cpu_percent == pytest.approx(50.0)
    guest = machine("x86-guest-cgroup1")
    guest.write("sys/fs/cgroup/cpu,cpuacct/cpuacct.usage", "10500000000\n")
    assert guest.after(2.0).cpu_percent == pytest.approx(50.0)


def test_where_the_groups_time_is_not_told_the_machines_counts(machine: Machine) -> None:
    bench = machine("x86-guest-cgroup1")
    (bench.tree / "sys/fs/cgroup/cpu,cpuacct/cpuacct.usage").unlink()
    bench = Bench(bench.tree)
    bench.write("proc/stat", "cpu  280100 0 140000 1200300 40 0 12 0 0 0\nintr\n")
    assert bench.after(2.0).cpu_percent == 25.0


def test_memory_is_that_of_the_group_where_it_is_fuller_and_of_the_machine_where_that_is(machine: Machine) -> None:
    bench = machine("x86-server-cgroup2")
    assert bench.first.memory_percent == 50.0  # 1.5 GiB used, 0.5 GiB of it idle cache, 2 GiB allowed
    bench.replace("proc/meminfo", "MemAvailable:   118000000 kB", "MemAvailable:    13184290 kB")
    assert bench.after(2.0).memory_percent == pytest.approx(90.0, abs=0.1)


def test_pressure_is_that_of_the_group_and_ends_with_it(machine: Machine) -> None:
    bench = machine("x86-server-cgroup2")
    assert bench.first.memory_pressure
    bench.replace("sys/fs/cgroup/memory.pressure", "some avg10=14.20", "some avg10=0.20")
    assert not bench.after(2.0).memory_pressure


def test_without_pressure_information_nearly_full_is_pressure(machine: Machine) -> None:
    bench = machine("jetson-orin-nano-jp62")
    assert not bench.first.memory_pressure
    text = (bench.tree / "proc/meminfo").read_text().replace(" 5240100 kB", "  240100 kB")
    bench.write("proc/meminfo", text)
    assert bench.after(2.0).memory_pressure


def test_traffic_of_bridges_and_gadgets_is_not_counted_twice(machine: Machine) -> None:
    bench = machine("jetson-orin-nano-jp62")
    rows = (
        "    lo: 9 0 0 0 0 0 0 0 9",
        " l4tbr0: 99999999 0 0 0 0 0 0 0 99999999",
        "  usb0: 99999999 0 0 0 0 0 0 0 99999999",
    )
    hardware = (
        "enP8p1s0: 50204800 0 0 0 0 0 0 0 8102400",
        "wlP1p1s0: 0 0 0 0 0 0 0 0 0",
        "  can0: 1000 0 0 0 0 0 0 0 10",
    )
    bench.write("proc/net/dev", "\n".join(("head", "head", *rows, *hardware, "")))
    later = bench.after(2.0)
    assert (later.received_kib_s, later.sent_kib_s) == (100.0, 50.0)


def test_what_runs_over_a_card_is_counted_at_the_card_only(machine: Machine) -> None:
    bench = machine("raspberry-pi-5")
    vlan = bench.tree / "sys/class/net/eth0.7"
    vlan.mkdir()
    (vlan / "operstate").write_text("up\n")
    bench = Bench(bench.tree)
    bench.write("proc/net/dev", "h\nh\n  eth0: 1102400 0 0 0 0 0 0 0 500000\neth0.7: 999999 0 0 0 0 0 0 0 0\n")
    assert bench.after(2.0).received_kib_s == 50.0


def test_a_counter_that_goes_back_starts_anew(machine: Machine) -> None:
    bench = machine("raspberry-pi-5")
    bench.write("proc/net/dev", "h\nh\n  eth0: 10 0 0 0 0 0 0 0 10\n")
    assert bench.after(2.0).received_kib_s is None
    bench.write("proc/net/dev", "h\nh\n  eth0: 2058 0 0 0 0 0 0 0 10\n")
    assert bench.after(2.0).received_kib_s == 1.0


def test_gpu_load_of_a_jetson_comes_in_tenths_of_a_percent(machine: Machine) -> None:
    bench = machine("jetson-orin-nano-jp62")
    assert bench.first.accelerator_percent == 38.4
    assert bench.first.accelerator_memory_percent is None  # it is the machine's own memory
    bench.write("sys/devices/platform/bus@0/17000000.gpu/load", "1000\n")
    assert bench.after(2.0).accelerator_percent == 100.0
    assert machine("jetson-agx-orin-jp5").first.accelerator_percent == 0.0
    assert machine("jetson-thor-jp7").first.accelerator_percent is None


def test_amd_cards_tell_load_and_memory_by_file(tmp_path: Path) -> None:
    for name, load, used in (("card0", 80, 6), ("card1", 20, 2)):
        card = tmp_path / f"sys/class/drm/{name}/device"
        card.mkdir(parents=True)
        for file, value in (
            ("gpu_busy_percent", load),
            ("mem_info_vram_used", used << 30),
            ("mem_info_vram_total", 8 << 30),
        ):
            (card / file).write_text(f"{value}\n")
    (tmp_path / "dev").mkdir()
    (tmp_path / "dev/kfd").touch()
    load = Bench(tmp_path).first
    assert (load.accelerator_percent, load.accelerator_memory_percent) == (50.0, 50.0)


@pytest.mark.parametrize(
    ("name", "celsius"),
    [
        ("jetson-orin-nano-jp62", 50.406),  # domains that are off say -256
        ("jetson-agx-orin-jp5", 44.125),
        ("raspberry-pi-5", 83.45),
        ("x86-server-cgroup2", 57.25),  # of the processor, not of the hotter disk
        ("laptop-on-battery", 58.0),
        ("x86-guest-cgroup1", None),
    ],
)
def test_the_hottest_sensor_that_measures(machine: Machine, name: str, celsius: float | None) -> None:
    assert machine(name).first.hottest_celsius == celsius


def test_where_every_sensor_is_off_the_heat_is_not_known(machine: Machine) -> None:
    bench = machine("raspberry-pi-5")
    bench.write("sys/class/thermal/thermal_zone0/temp", "-256000\n")
    bench.write("sys/class/hwmon/hwmon0/temp1_input", "-256000\n")
    assert bench.after(SLOW_EVERY_S).hottest_celsius is None


def test_fixed_readings_of_a_pmic_are_no_heat(machine: Machine) -> None:
    bench = machine("raspberry-pi-5")
    zone = bench.tree / "sys/class/thermal/thermal_zone1"
    zone.mkdir()
    (zone / "type").write_text("PMIC-Die\n")
    (zone / "temp").write_text("100000\n")
    assert Bench(bench.tree).first.hottest_celsius == 83.45


@pytest.mark.parametrize(
    ("name", "throttled", "on_battery"),
    [
        ("jetson-orin-nano-jp62", False, False),  # a warm case and a turning fan slow nothing down
        ("jetson-agx-orin-jp5", False, False),
        ("jetson-thor-jp7", True, False),
        ("raspberry-pi-5", True, False),
        ("laptop-on-battery", False, True),
        ("x86-server-cgroup2", False, False),
    ],
)
def test_flags_of_recorded_machines(machine: Machine, name: str, throttled: bool, on_battery: bool) -> None:
    first = machine(name).first
    assert (first.throttled, first.on_battery) == (throttled, on_battery)


def test_a_pi_that_was_throttled_once_is_not_throttled_now(machine: Machine) -> None:
    bench = machine("raspberry-pi-5")
    bench.write("sys/devices/platform/soc@107c000000/soc@107c000000:firmware/get_throttled", "50000\n")
    assert bench.after(SLOW_EVERY_S).throttled  # the supply still is too weak, says its sensor
    bench.write("sys/class/hwmon/hwmon1/in0_lcrit_alarm", "0\n")
    assert bench.after(SLOW_EVERY_S / 2).throttled  # not looked at yet
    assert not bench.after(SLOW_EVERY_S / 2).throttled


@pytest.mark.parametrize(
    ("name", "counter", "more"),
    [
        ("laptop-on-battery", "sys/devices/system/cpu/cpu0/thermal_throttle/package_throttle_count", "41"),
        ("jetson-orin-nano-jp62", "sys/class/hwmon/hwmon2/oc3_event_cnt", "15"),
    ],
)
def test_a_throttle_counter_tells_while_it_grows(machine: Machine, name: str, counter: str, more: str) -> None:
    bench = machine(name)
    assert not bench.after(SLOW_EVERY_S).throttled
    bench.write(counter, more)
    assert bench.after(SLOW_EVERY_S).throttled
    assert not bench.after(SLOW_EVERY_S).throttled


def test_a_plug_ends_the_battery_and_a_mouse_has_none_that_matters(machine: Machine) -> None:
    bench = machine("laptop-on-battery")
    bench.write("sys/class/power_supply/AC/online", "1\n")
    assert not bench.after(SLOW_EVERY_S).on_battery
    bench.write("sys/class/power_supply/AC/online", "0\n")
    bench.write("sys/class/power_supply/BAT0/status", "Not charging\n")
    assert not bench.after(SLOW_EVERY_S).on_battery


def test_this_machine_can_be_sampled_for_less_than_a_millisecond() -> None:
    sampler = LoadSampler(Path("/"))
    first = sampler.sample().load
    assert 0 <= first.memory_percent <= 100
    assert 0 <= first.disk_percent <= 100
    best_s = 1.0
    for _ in range(5):
        begun_s = time.process_time()
        for _ in range(20):
            sampler.sample()
        best_s = min(best_s, (time.process_time() - begun_s) / 20)
    assert best_s < 0.001


def test_a_thousand_samples_open_nothing_new() -> None:
    sampler = LoadSampler(Path("/"))
    sampler.sample()
    gc.collect()
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(1000):
        sampler.sample()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
