"""YAML from hostile hands: refused early, with file, line and field, and with exit code 2."""

import hashlib
import io
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from meshnode.cli import manifests
from meshnode.cli.carried import carry
from meshnode.cli.manifests import FILE_BYTES_MAX, NODES_MAX, Source, checked_manifests, load_manifests
from meshnode.model.agentcluster import parse_agentcluster
from meshnode.model.errors import Invalid

EXAMPLES = Path(__file__).parents[3] / "examples" / "clusters"
GOOD = """\
apiVersion: v1
kind: AgentCluster
metadata:
  name: team
spec:
  agents:
    - name: reader
      replicas: 2
      resources:
        memory: 4Gi
"""


def loaded(tmp_path: Path, text: str | bytes) -> list[Source]:
    path = tmp_path / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return load_manifests(str(path))


def refused(tmp_path: Path, text: str | bytes) -> str:
    """The message, without the directory in front."""
    path = tmp_path / "x.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(Invalid) as caught:
        checked_manifests(str(path))
    assert caught.value.exit_code == 2
    assert caught.value.next_step
    assert caught.value.message.startswith(str(tmp_path))
    return caught.value.message.removeprefix(f"{tmp_path}/")


@pytest.mark.parametrize("path", sorted(EXAMPLES.glob("*.yaml")), ids=lambda path: path.name)
def test_every_example_is_valid(path: Path) -> None:
    (source,) = checked_manifests(str(path), carry)
    assert parse_agentcluster(source.manifest).name == path.stem


def test_there_is_an_example_of_each_published_shape() -> None:
    specs = [checked_manifests(str(path), carry)[0].manifest["spec"] for path in sorted(EXAMPLES.glob("*.yaml"))]
    assert any("agents" in spec for spec in specs)
    assert any("regions" in spec for spec in specs)


def test_every_field_knows_its_line(tmp_path: Path) -> None:
    (source,) = loaded(tmp_path, GOOD)
    assert source.locate(("spec", "agents", 0, "replicas")) == 8
    assert source.locate(("spec", "agents", 0)) == 7
    assert source.locate(("spec", "agents", 0, "resources", "memory")) == 10
    assert source.locate(("metadata", "namespace")) == 3
    assert source.locate(()) == 1


def test_lines_count_through_several_documents(tmp_path: Path) -> None:
    second = GOOD.replace("name: team", "name: other")
    first, other = loaded(tmp_path, f"# two of them\n---\n{GOOD}---\n\n{second}---\n")
    assert (first.line, other.line) == (3, 15)
    assert other.locate(("metadata", "name")) == 18


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("replicas: 2", "replica: 2", "x.yaml:8: spec.agents[0].replica: unknown field"),
        ("replicas: 2", "replicas: -2", "x.yaml:8: spec.agents[0].replicas: is -2, out of range"),
        ("memory: 4Gi", "memory: 4GB", "x.yaml:10: spec.agents[0].resources.memory: '4GB' has the unknown suffix 'GB'"),
        ("kind: AgentCluster", "kind: Pod", "x.yaml:2: kind: 'Pod' is not known here"),
        ("name: team", "name: Team", "x.yaml:4: metadata.name: 'Team' is no valid name"),
        ("      replicas: 2\n", "", "x.yaml:7: spec.agents[0]: the field replicas is missing"),
        ("apiVersion: v1\n", "", "x.yaml:1: the document: the field apiVersion is missing"),
    ],
)
def test_a_bad_field_is_refused_with_file_line_and_field(tmp_path: Path, old: str, new: str, message: str) -> None:
    assert refused(tmp_path, GOOD.replace(old, new)) == message


AGENT = """\
apiVersion: v1
kind: Agent
metadata:
  name: words
spec:
  run:
    file: /srv/words.py
    env: {LEVEL: debug}
  replicas: 2
  durability: replicated(1)
"""


def test_an_agent_and_a_cluster_of_one_name_stand_in_one_file(tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_text(f"{AGENT}---\n{GOOD.replace('name: team', 'name: words')}")
    assert [source.manifest["kind"] for source in checked_manifests(str(path))] == ["Agent", "AgentCluster"]
    assert refused(tmp_path, f"{AGENT}---\n{AGENT}") == (
        "x.yaml:15: metadata.name: Agent/default/words is in this file already, at line 4"
    )


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("replicas: 2", "replica: 2", "x.yaml:9: spec.replica: unknown field"),
        ("replicas: 2", "replicas: two", "x.yaml:9: spec.replicas: "),
        ("file: /srv/words.py", "file: words.py", "x.yaml:7: spec.run.file: is not absolute"),
        ("file: /srv/words.py", "path: /srv/words.py", "x.yaml:7: spec.run.path: unknown field"),
        ("LEVEL: debug", "MESHNODE_BUS: x", "x.yaml:8: spec.run.env.MESHNODE_BUS: is set by the daemon"),
        ("replicated(1)", "most", "x.yaml:10: spec.durability: durability 'most' is none"),
        ("kind: Agent", "kind: agent", "x.yaml:2: kind: "),
        ("spec:", "spec: 3\nother:", "x.yaml:6: "),
    ],
)
def test_a_bad_field_of_an_agent_is_refused_with_file_line_and_field(
    tmp_path: Path, old: str, new: str, message: str
) -> None:
    assert refused(tmp_path, AGENT.replace(old, new)).startswith(message)


def test_a_sum_above_the_total_is_refused_where_it_stands(tmp_path: Path) -> None:
    text = GOOD[: GOOD.index("spec:")] + (
        "spec:\n  replicas: 5\n  regions:\n    - name: eu\n      agent_distribution: {a: 4, b: 2}\n"
    )
    assert refused(tmp_path, text) == (
        "x.yaml:7: spec.regions: the agent_distribution adds up to 6, but spec.replicas is 5"
    )


def test_an_error_found_by_the_daemon_is_placed_in_the_file(tmp_path: Path) -> None:
    (source,) = loaded(tmp_path, GOOD)
    remote = Invalid("spec.agents[0].name: taken", next_step="rename", details={"path": ["spec", "agents", 0, "name"]})
    placed = source.placed(remote)
    assert placed.message == f"{tmp_path}/x.yaml:7: spec.agents[0].name: taken"
    assert placed.next_step == "rename"
    assert source.placed(Invalid("no path")).message.endswith("x.yaml:1: no path")


BOMB = "a: &a [x, x]\nb: &b [*a, *a]\nc: [*b, *b]\n"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (BOMB, "x.yaml:1: a: an anchor (&) is not allowed"),
        ("a: 1\nb: *x\n", "x.yaml:2: b: an alias (*) is not allowed"),
        ("a: &x 1\n", "x.yaml:1: a: an anchor (&) is not allowed"),
        ("<<: *x\n", "x.yaml:1: ['<<']: an alias (*) is not allowed"),
        ("&k a: 1\n", "x.yaml:1: an anchor (&) is not allowed"),
        ("a:\n  !!python/object/apply:os.system ['true']\n", "x.yaml:2: a: the tag 'tag:yaml.org,2002:python/object/"),
        ("!!python/name:os.system k: 1\n", "x.yaml:1: the tag"),
        ("!mine\na: 1\n", "x.yaml:1: the tag '!mine' is not allowed"),
        ("a: !!binary aGk=\n", "x.yaml:1: a: the tag 'tag:yaml.org,2002:binary'"),
        ("a: !!int x\n", "x.yaml:1: a: 'x' is no int"),
        ("a:\n  b: 1\n  c: 2\n  b: 3\n", "x.yaml:4: a.b: the key is there already, at line 2"),
        ("1: a\n", "x.yaml:1: a key must be text"),
        ("? [a]\n: b\n", "x.yaml:1: a key must be text"),
        ("null: a\n", "x.yaml:1: a key must be text"),
        ("- a\n", "x.yaml:1: a manifest is a mapping"),
        ("just words\n", "x.yaml:1: a manifest is a mapping"),
        ("a: [1,\nb: }\n", "x.yaml:2: not valid YAML: "),
        ("a: b: c\n", "x.yaml:1: not valid YAML: "),
        ("a: 1\n\tb: 2\n", "x.yaml:2: not valid YAML: "),
        ("a: 'open\n\n", "x.yaml:3: not valid YAML: "),
        ("%YAML 9.0\n---\na: 1\n", "x.yaml:1: not valid YAML: "),
        ("a: 1\nb: \x07\n", "x.yaml:2: the character '\\x07' is not allowed"),
        ("", "x.yaml:1: the file holds no manifest"),
        ("# nothing\n---\n---\n", "x.yaml:1: the file holds no manifest"),
        (b"a: 1\nb: \xff\xfe\n", "x.yaml:2: not UTF-8 text"),
        (b"\xff\xfea\x00:\x00", "x.yaml:1: not UTF-8 text"),
        (b"\x7fELF\x02\x01\x01\x00", "x.yaml:1: the character"),
    ],
)
def test_broken_and_hostile_files_are_refused(tmp_path: Path, text: str | bytes, message: str) -> None:
    assert refused(tmp_path, text).startswith(message)


@pytest.mark.parametrize("text", ["a: " + "[" * 50_000, "- " * 50_000, "{a: " * 50_000])
def test_deep_nesting_is_refused_long_before_its_end(tmp_path: Path, text: str) -> None:
    message = refused(tmp_path, text)
    assert "nested deeper than 32 levels" in message
    assert len(message) < 200


def test_the_deepest_nesting_allowed_is_read(tmp_path: Path) -> None:
    (source,) = loaded(tmp_path, "a: " + "[" * 30 + "x" + "]" * 30)
    assert source.manifest["a"] != "x"


def test_too_many_values_are_refused(tmp_path: Path) -> None:
    assert f"more than {NODES_MAX} values" in refused(tmp_path, "a: [" + "1," * NODES_MAX + "]")


def test_a_file_of_50_mb_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(50 * 1024 * 1024)

    def opened(*_: object) -> None:
        raise AssertionError("it was opened")

    monkeypatch.setattr(Path, "open", opened)
    with pytest.raises(Invalid, match=f"has 52428800 bytes, a manifest at most {FILE_BYTES_MAX}"):
        load_manifests(str(path))


def test_a_file_without_end_is_not_read_to_its_end() -> None:
    with pytest.raises(Invalid, match=f"has more than {FILE_BYTES_MAX} bytes"):
        load_manifests("/dev/zero")


def test_a_long_text_within_the_limit_is_read(tmp_path: Path) -> None:
    (source,) = loaded(tmp_path, f"a: '{'x' * 900_000}'")
    assert len(source.manifest["a"]) == 900_000


@pytest.mark.parametrize(
    ("name", "message"), [("none.yaml", "there is no such file"), (".", "is a directory"), ("a\0b", "cannot be read")]
)
def test_what_is_no_file_is_named(tmp_path: Path, name: str, message: str) -> None:
    with pytest.raises(Invalid, match=message) as caught:
        load_manifests(f"{tmp_path}/{name}")
    assert caught.value.next_step


def test_standard_input_is_read_and_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(GOOD.encode())))
    (source,) = checked_manifests("-")
    assert source.manifest["metadata"] == {"name": "team"}
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"#" * (FILE_BYTES_MAX + 1))))
    with pytest.raises(Invalid, match=r"^- has more than"):
        checked_manifests("-")


def test_one_name_twice_in_a_file_is_refused(tmp_path: Path) -> None:
    message = refused(tmp_path, f"{GOOD}---\n{GOOD}")
    assert message == ("x.yaml:15: metadata.name: AgentCluster/default/team is in this file already, at line 4")


def test_plain_words_mean_what_yaml_1_2_says(tmp_path: Path) -> None:
    (source,) = loaded(
        tmp_path,
        "{a: no, b: on, c: true, d: ~, e: 012, f: 0x1F, g: 1e3, h: 1:30, i: 2024-01-01, j: '1', k: .inf, l: 1.5, m: "
        "!!str 7, n: , o: 0o17, p: 1e999}",
    )
    assert source.manifest == {
        "a": "no", "b": "on", "c": True, "d": None, "e": 12, "f": 31, "g": 1000.0, "h": "1:30", "i": "2024-01-01",
        "j": "1", "k": ".inf", "l": 1.5, "m": "7", "n": None, "o": 15, "p": "1e999",
    }  # fmt: skip


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    (source,) = loaded(tmp_path, b"\xef\xbb\xbf" + GOOD.encode())
    assert source.manifest["apiVersion"] == "v1"


def test_the_parser_in_python_refuses_the_same(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(yaml, "__with_libyaml__", False)
    assert "an anchor" in refused(tmp_path, BOMB)
    assert "nested deeper" in refused(tmp_path, "a: " + "[" * 5_000)
    assert loaded(tmp_path, GOOD)[0].locate(("spec", "agents", 0, "replicas")) == 8


@given(st.text(max_size=60) | st.text(alphabet="a:-[]{}&*!?|>'\"%@` \n#,~1", max_size=60))
def test_no_text_raises_anything_but_invalid(text: str) -> None:
    try:
        data = text.encode()
        sources = list(manifests._Reader("x", manifests._text("x", data)).sources())
    except (Invalid, yaml.YAMLError, UnicodeEncodeError):
        return
    assert all(isinstance(source.manifest, dict) for source in sources)


CARRIED = """\
apiVersion: v1
kind: Agent
metadata: {name: words}
spec:
  run: {file: words.py}
"""
USES_SDK = "from meshnode.sdk import Agent\n"


def test_a_file_beside_the_manifest_becomes_absolute_and_is_known_by_its_content(tmp_path: Path) -> None:
    (tmp_path / "words.py").write_text(USES_SDK)
    (tmp_path / "m.yaml").write_text(CARRIED)
    (source,) = checked_manifests(str(tmp_path / "m.yaml"), carry)
    digest = hashlib.sha256(USES_SDK.encode()).hexdigest()
    assert source.manifest["spec"]["run"] == {
        "file": str(tmp_path / "words.py"), "bundle": digest, "cwd": str(tmp_path),
    }  # fmt: skip
    assert source.contents == [USES_SDK.encode()]


@pytest.mark.parametrize(
    ("content", "why"),
    [(None, "cannot be read: No such file or directory"), ("print()\n", "does not use meshnode.sdk")],
)
def test_a_file_that_cannot_be_carried_is_refused_at_its_line(tmp_path: Path, content: str | None, why: str) -> None:
    if content is not None:
        (tmp_path / "words.py").write_text(content)
    (tmp_path / "m.yaml").write_text(CARRIED)
    with pytest.raises(Invalid) as caught:
        checked_manifests(str(tmp_path / "m.yaml"), carry)
    assert caught.value.message == f"{tmp_path}/m.yaml:5: spec.run.file: {tmp_path}/words.py {why}"
    assert caught.value.next_step


def test_a_file_of_other_machines_is_named_and_not_carried(tmp_path: Path) -> None:
    (tmp_path / "m.yaml").write_text(CARRIED.replace("words.py", "/nowhere/words.py"))
    (source,) = checked_manifests(str(tmp_path / "m.yaml"), carry)
    assert (source.manifest["spec"]["run"], source.contents) == ({"file": "/nowhere/words.py"}, [])
