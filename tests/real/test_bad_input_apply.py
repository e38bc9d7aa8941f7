"""Bad manifests and unknown words through the real command line of a real node: refused in words, nothing stored."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from meshnode.client.client import Client
from meshnode.model.errors import Invalid
from tests.real.daemon_kit import Daemon, Daemons, cli, run_echo, shell

pytestmark = pytest.mark.real

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
SECOND = GOOD.replace("team", "other")
REGIONS = """\
apiVersion: v1
kind: AgentCluster
metadata:
  name: team
spec:
  replicas: 3
  regions:
    - name: eu
      agent_distribution:
        reader: {eu}
    - name: us
      agent_distribution:
        reader: 2
"""
BOMB = "a: &a [x, x, x]\nb: &b [*a, *a, *a]\nc: &c [*b, *b, *b]\n"
RUNS_CODE = "apiVersion: !!python/object/apply:os.system ['touch {mark}']\n"


@pytest.fixture(scope="module")
def node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    with Daemons(tmp_path_factory.mktemp("node")) as daemons:
        node = daemons.start("alpha")
        run_echo(node)
        yield node


def refused(node: Daemon, path: Path, line: int | None, *words: str) -> str:
    """What ``apply`` says to a file; the node must hold what it held."""
    before = node.ask.status()
    place = f"{path}:{line}: " if line else str(path)
    message = cli(node.directory, "apply", "-f", str(path)).refused(2, f"error: {place}", *words)
    after = node.ask.status()
    assert (after.documents_root, after.documents) == (before.documents_root, before.documents)
    return message


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "x.yaml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("text", "line", "words"),
    [
        (GOOD.replace("spec:", "spec: ["), 7, ("not valid YAML",)),
        (GOOD.replace("  name: team", "\tname: team"), 4, ("not valid YAML",)),
        (BOMB, 1, ("a: an anchor (&) is not allowed",)),
        (RUNS_CODE, 1, ("apiVersion: the tag", "is not allowed")),
        (GOOD.replace("replicas: 2", "replicsa: 2"), 8, ("spec.agents[0].replicsa", "unknown field")),
        (GOOD.replace("4Gi", "4Gigs"), 10, ("spec.agents[0].resources.memory", "4Gigs")),
        (GOOD.replace("replicas: 2", "replicas: -2"), 8, ("spec.agents[0].replicas",)),
        (GOOD.replace("kind: AgentCluster", "kind: Pod"), 2, ("kind", "Pod")),
        (GOOD.replace("apiVersion: v1", "apiVersion: v7"), 1, ("apiVersion", "v7")),
        (GOOD.replace("  name: team", "  name: a/b"), 4, ("metadata.name",)),
        (GOOD + "---\n" + GOOD, 15, ("metadata.name", "at line 4")),
        (REGIONS.format(eu=2), 7, ("spec.regions", "replicas")),
        ("", 1, ("holds no manifest",)),
        ("just words\n", 1, ("a manifest is a mapping",)),
    ],
    ids=["broken", "tab", "bomb", "python-tag", "unknown-field", "quantity", "negative", "kind", "version", "name",
         "twice", "sum", "empty", "text"],
)  # fmt: skip
def test_a_bad_manifest_is_refused_at_its_line_and_nothing_is_stored(
    node: Daemon, tmp_path: Path, text: str, line: int, words: tuple[str, ...]
) -> None:
    mark = tmp_path / "ran"
    refused(node, written(tmp_path, text.replace("{mark}", str(mark))), line, *words)
    assert not mark.exists()


def test_fifty_megabytes_are_refused_without_being_read(node: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "big.yaml"
    with path.open("wb") as file:
        file.truncate(50 * 1024 * 1024)
    refused(node, path, None, "52428800 bytes", "at most 1048576")


def test_a_file_that_is_no_text_or_not_there_is_refused(node: Daemon, tmp_path: Path) -> None:
    path = tmp_path / "x.yaml"
    path.write_bytes(b"kind: \xff\xfe")
    refused(node, path, 1, "not UTF-8")
    refused(node, tmp_path / "nowhere.yaml", None, "no such file")
    refused(node, tmp_path, None, "is a directory")


def test_one_bad_manifest_among_good_ones_keeps_all_of_them_out(node: Daemon, tmp_path: Path) -> None:
    refused(node, written(tmp_path, f"{SECOND}---\n{GOOD.replace('4Gi', 'much')}"), 21, "memory")


def test_the_node_itself_refuses_what_the_command_line_would_have(node: Daemon) -> None:
    manifest = {"apiVersion": "v1", "kind": "AgentCluster", "metadata": {"name": "x"}, "spec": {"replicas": "many"}}
    before = node.ask.status().documents_root
    with pytest.raises(Invalid) as caught:
        Client(str(node.directory)).apply(manifest)
    assert caught.value.details["path"] == ["spec", "replicas"]
    assert node.ask.status().documents_root == before


def test_a_distribution_below_the_sum_is_accepted_and_says_how_many_are_free(node: Daemon, tmp_path: Path) -> None:
    path = written(tmp_path, REGIONS.format(eu=0).replace("team", "free"))
    done = cli(node.directory, "apply", "-f", str(path))
    assert done.code == 0
    assert "1 of 3" in done.out, done.out
    assert cli(node.directory, "delete", "cluster", "free").code == 0


@pytest.mark.parametrize(
    ("words", "code", "told"),
    [
        (("aply",), 2, ("unknown command: aply", "did you mean: meshnode apply")),
        (("frobnicate",), 2, ("unknown command: frobnicate", "meshnode --help")),
        (("--frob",), 2, ("unknown option: --frob",)),
        (("ls", "--frob"), 2, ("--frob", "meshnode ls --help")),
        (("status", "-o", "xml"), 2, ("xml",)),
        (("get", "pods"), 2, ("pods",)),
        (("describe", "node", "nobody"), 3, ("nobody", "meshnode ls")),
        (("call", "no.such"), 3, ("no.such", "meshnode skills")),
        (("call", "echo.say", "text=3"), 2, ("`str`", "describe skill")),
        (("call", "echo.say"), 2, ("text", "describe skill")),
        (("call", "echo.say", "text=x", "more=1"), 2, ("more", "describe skill")),
        (("call", "echo.say", "text=x", "--deadline", "0"), 2, ("--deadline",)),
        (("call", "echo.say", "text=x", "--to", "nobody"), 3, ("nobody", "meshnode ls")),
        (("call", "echo.say", "text=@/no/file"), 2, ("/no/file",)),
        (("call", "no.such", "noequals"), 2, ("noequals", "key=value")),
        (("ping", "nobody"), 3, ("nobody", "meshnode ls")),
        (("why", "nobody"), 3, ("nobody",)),
        (("find", "no.such"), 3, ("no.such", "meshnode skills")),
        (("stop", "no-agent"), 3, ("no-agent", "meshnode ps")),
        (("run", "/no/such/file.py"), 2, ("/no/such/file.py", "no such file")),
        (("invite", "--name", "Not A Name"), 2, ("Not A Name", "63 characters")),
        (("invite", "--ttl", "soon"), 2, ("soon", "15m")),
        (("invite", "--ttl", "400d"), 2, ("34560000", "--ttl 7d")),
        (("invite", "--region", "a b"), 2, ("a b", "region")),
        (("apply",), 2, ("-f", "meshnode apply --help")),
        (("delete", "cluster", "nobody"), 3, ("nobody",)),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else None,
)
def test_a_wrong_word_is_refused_with_its_exit_code_and_a_next_step(
    node: Daemon, words: tuple[str, ...], code: int, told: tuple[str, ...]
) -> None:
    before = node.ask.status().documents_root
    cli(node.directory, *words).refused(code, *told)
    assert node.ask.status().documents_root == before


def test_an_unknown_command_ends_a_real_process_with_two(tmp_path: Path) -> None:
    shell(tmp_path, "aply").refused(2, "unknown command: aply")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("verb", [("status",), ("ls",), ("apply", "-f", "{good}"), ("invite",), ("events",)])
def test_without_a_daemon_every_verb_says_how_to_start_it(tmp_path: Path, verb: tuple[str, ...]) -> None:
    good = written(tmp_path, GOOD)
    directory = tmp_path / "a b"
    words = [word.format(good=good) for word in verb]
    cli(directory, *words).refused(6, "no daemon runs in", f"meshnode -C '{directory}' up")
    assert not directory.exists()
