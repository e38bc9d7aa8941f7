"""How a node was started is kept, checked, and never half written."""

import contextlib
import json
from pathlib import Path

import pytest

from meshnode.daemon import settings as kept
from meshnode.daemon.settings import FILE, Settings, address
from meshnode.model.errors import Invalid, LocalError

CHOSEN = Settings(
    bind="127.0.0.2", port=7070, advertise=("10.0.0.1:7070",), seeds=("[fe80::1]:7000", "host.lan:1"),
    dial_from="127.0.0.3", mdns=False, profile="relay",
)  # fmt: skip


def write(directory: Path, content: str | bytes) -> Path:
    path = directory / FILE
    path.write_bytes(content.encode() if isinstance(content, str) else content)
    return path


def test_what_is_saved_is_loaded_again(tmp_path: Path) -> None:
    kept.save(tmp_path, CHOSEN)
    assert kept.load(tmp_path) == CHOSEN
    assert (tmp_path / FILE).stat().st_mode & 0o777 == 0o600


def test_without_a_file_everything_is_chosen_for_the_person(tmp_path: Path) -> None:
    assert kept.load(tmp_path) == Settings()


def test_an_unchanged_file_is_not_written_again(tmp_path: Path) -> None:
    kept.save(tmp_path, CHOSEN)
    before = (tmp_path / FILE).stat()
    kept.save(tmp_path, CHOSEN)
    after = (tmp_path / FILE).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)
    kept.save(tmp_path, CHOSEN.merged(port=7071))
    assert kept.load(tmp_path).port == 7071


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ('{"prot": 7070}', "prot"),
        ('{"port": "7070"}', "$.port"),
        ('{"port": 70000}', "$.port"),
        ('{"port": -1}', "$.port"),
        ('{"profile": "fast"}', "$.profile"),
        ('{"seeds": ["nowhere"]}', "seeds: 'nowhere' is not an address"),
        ('{"advertise": ["fe80::1:7070"]}', "advertise: 'fe80::1:7070' is not an address"),
        ('{"seeds": "10.0.0.1:1"}', "$.seeds"),
        ('{"relay_bytes_per_s": 100}', "$.relay_bytes_per_s"),
        ('{"relay_clients": 0}', "$.relay_clients"),
        ('{"relay_tunnels": "many"}', "$.relay_tunnels"),
        ('{"relay_client_tunnels": 5000}', "$.relay_client_tunnels"),
        ("[]", "array"),
        ("", "truncated"),
        ("{", "truncated"),
        (b'{"bind": "\xff"}', "decode"),
    ],
)
def test_a_file_that_breaks_a_rule_is_refused_by_file_and_field(
    tmp_path: Path, content: str | bytes, named: str
) -> None:
    path = write(tmp_path, content)
    with pytest.raises(Invalid) as refused:
        kept.load(tmp_path)
    assert str(path) in refused.value.message
    assert named in refused.value.message
    assert "mend the file" in refused.value.next_step
    assert refused.value.exit_code == 2


def test_a_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / FILE).mkdir()
    with pytest.raises(Invalid, match=r"settings\.json"):
        kept.load(tmp_path)


def test_what_was_given_now_wins_and_none_leaves_what_is() -> None:
    merged = CHOSEN.merged(port=1, bind=None, mdns=True, seeds=(), profile=None)
    assert (merged.port, merged.bind, merged.mdns, merged.seeds, merged.profile) == (1, "127.0.0.2", True, (), "relay")
    assert Settings().merged(mdns=False).mdns is False


@pytest.mark.parametrize("given", [{"port": 70_000}, {"port": -1}, {"profile": "fast"}, {"seeds": "x"}])
def test_what_is_given_now_keeps_the_same_rules(given: dict[str, object]) -> None:
    (name,) = given
    with pytest.raises(Invalid, match=name) as refused:
        CHOSEN.merged(**given)
    assert refused.value.next_step


def test_what_came_later_is_written_only_if_somebody_chose_it(tmp_path: Path) -> None:
    kept.save(tmp_path, Settings())
    assert "loop" not in json.loads((tmp_path / FILE).read_bytes()), "an older daemon would refuse the file"
    kept.save(tmp_path, Settings(loop="uvloop"))
    assert kept.load(tmp_path).loop == json.loads((tmp_path / FILE).read_bytes())["loop"] == "uvloop"
    kept.save(tmp_path, kept.load(tmp_path).merged(loop="asyncio"))
    assert "loop" not in json.loads((tmp_path / FILE).read_bytes())
    assert kept.load(tmp_path) == Settings()


def test_a_disk_that_refuses_leaves_the_old_settings_and_says_so(tmp_path: Path) -> None:
    kept.save(tmp_path, CHOSEN)
    tmp_path.chmod(0o500)
    blocker = tmp_path / f".new-{FILE}"
    try:
        with contextlib.suppress(PermissionError):  # root is refused nothing but what is in the way
            blocker.mkdir()
        with pytest.raises(LocalError, match="cannot be written") as refused:
            kept.save(tmp_path, Settings())
    finally:
        tmp_path.chmod(0o700)
    assert refused.value.next_step
    assert kept.load(tmp_path) == CHOSEN


@pytest.mark.parametrize(
    ("text", "pair"),
    [
        ("10.0.0.1:7070", ("10.0.0.1", 7070)),
        ("box.lan:1", ("box.lan", 1)),
        ("[::1]:65535", ("::1", 65535)),
        ("[fe80::1]:7070", ("fe80::1", 7070)),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, pair: tuple[str, int]) -> None:
    assert address(text) == pair


@pytest.mark.parametrize(
    "text",
    ["", "host", ":7070", "host:", "host:0", "host:65536", "host:x", "host:-1", "fe80::1", "::1:7070", "[::1]", "a b:1",
     "host:٣", "host:7070\n", "host:123456"],
)  # fmt: skip
def test_what_is_no_address_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(Invalid) as refused:
        address(text)
    assert repr(text) in refused.value.message
    assert "HOST:PORT" in refused.value.next_step


def test_the_file_is_json_a_person_can_edit(tmp_path: Path) -> None:
    kept.save(tmp_path, CHOSEN)
    text = (tmp_path / FILE).read_text()
    assert json.loads(text)["port"] == 7070
    assert text.count("\n") > 5


def test_quotas_of_a_relay_are_kept_where_somebody_chose_them(tmp_path: Path) -> None:
    kept.save(tmp_path, Settings())
    assert b"relay_" not in (tmp_path / FILE).read_bytes(), "an older daemon would refuse the file"
    kept.save(tmp_path, Settings().merged(relay_bytes_per_s=1 << 20, relay_clients=None))
    assert (kept.load(tmp_path).relay_bytes_per_s, kept.load(tmp_path).relay_clients) == (1 << 20, 256)
    with pytest.raises(Invalid, match="relay_tunnels") as refused:
        Settings().merged(relay_tunnels=0)
    assert "meshnode up --help" in refused.value.next_step
