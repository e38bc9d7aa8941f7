"""What was written is read back: every line once, in order, however the reader pages through it."""

from pathlib import Path
from tempfile import TemporaryDirectory

from hypothesis import given
from hypothesis import strategies as st

from meshnode.host.agentlog import AgentLog, log_path
from meshnode.host.logs import read_logs
from meshnode.kernel.hlc import Hlc
from meshnode.kernel.instant import Instant
from meshnode.model.views import LogLine

UNITS = ("a/0", "a/1000", "a-b/0", "b/0")


def write(directory: Path, said: list[tuple[str, str]]) -> None:
    hlc, logs = Hlc(), dict[str, AgentLog]()
    for number, (unit, text) in enumerate(said):
        log = logs.setdefault(unit, AgentLog(log_path(directory, unit), hlc))
        log.write("out", text.encode() + b"\n", Instant(number, 1_700_000_000_000 + number // 3))
    for log in logs.values():
        log.close(Instant(0, 0))


def paged(directory: Path, agent: str, limit: int) -> list[LogLine]:
    found: list[LogLine] = []
    more = True
    while more:
        lines, more = read_logs(directory, agent, found[-1].hlc if found else 1, limit, "n")
        found += lines
        assert len(lines) == limit or not more
    return found


said = st.lists(st.tuples(st.sampled_from(UNITS), st.text("xyzé ", max_size=12)), max_size=60)


@given(said=said, agent=st.sampled_from(["", "a", "a-b", "b", "c"]), limit=st.integers(1, 70))
def test_pages_give_every_line_once_in_the_order_of_writing(said: list[tuple[str, str]], agent: str, limit: int):
    with TemporaryDirectory() as name:
        write(Path(name), said)
        wanted = [(unit, text) for unit, text in said if agent in ("", unit.partition("/")[0])]
        assert [(line.unit, line.text) for line in paged(Path(name), agent, limit)] == wanted
        newest, more = read_logs(Path(name), agent, 0, limit, "n")
        assert [(line.unit, line.text) for line in newest] == wanted[-limit:] and not more


@given(junk=st.lists(st.binary(max_size=60), max_size=8), after=st.sampled_from([0, 1]))
def test_damaged_lines_are_passed_over(junk: list[bytes], after: int):
    with TemporaryDirectory() as name:
        write(Path(name), [("a/0", "before")])
        with log_path(Path(name), "a/0").open("ab") as file:
            file.write(b"\n".join(junk) + b"\n")
        lines, _ = read_logs(Path(name), "a", after, 100, "n")
        assert "before" in [line.text for line in lines]


def test_a_rotated_file_is_read_before_the_one_that_took_its_place(tmp_path: Path):
    write(tmp_path, [("a/0", "first"), ("a/0", "second")])
    path = log_path(tmp_path, "a/0")
    path.rename(path.with_name(path.name + ".1"))
    hlc = Hlc(last=1 << 62)
    log = AgentLog(path, hlc)
    log.write("err", b"third\n", Instant(0, 0))
    lines, _ = read_logs(tmp_path, "a", 1, 10, "n")
    assert [(line.stream, line.text) for line in lines] == [("out", "first"), ("out", "second"), ("err", "third")]


def test_a_line_that_is_still_being_written_waits(tmp_path: Path):
    write(tmp_path, [("a/0", "whole")])
    path = log_path(tmp_path, "a/0")
    path.write_bytes(path.read_bytes() + path.read_bytes()[:-3])
    lines, _ = read_logs(tmp_path, "a", 0, 10, "n")
    assert [line.text for line in lines] == ["whole"]


def test_a_node_without_logs_has_no_lines(tmp_path: Path):
    assert read_logs(tmp_path / "logs", "", 0, 10, "n") == ([], False)
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs" / "warden.err").write_text("not a log of an agent")
    (tmp_path / "logs" / "a-0.log").symlink_to("/etc/passwd")
    assert read_logs(tmp_path / "logs", "", 0, 10, "n") == ([], False)


def test_many_units_are_merged_without_holding_more_files_than_lines(tmp_path: Path):
    said = [(f"a/{number % 50}", str(number)) for number in range(500)]
    write(tmp_path, said)
    newest, _ = read_logs(tmp_path, "", 0, 7, "n")
    assert [line.text for line in newest] == [str(number) for number in range(493, 500)]
