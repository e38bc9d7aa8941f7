"""Fuzz target: what a person, a script or a peer's document says that is wanted. The first byte chooses the parser:

    0 the YAML of a file   1 a manifest as JSON, as the API takes it   2 constraints on nodes   3 a quantity
    4 a spec that a peer has stored: of which kind, its JSON   5 a level of durability   6 a share

Properties beside "no exception but a refusal with a next step": a file that is accepted reads the same when its
manifests are printed and read again, a refusal names the file and a line in it, and what is accepted is accepted again.
"""

import io
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from meshnode.cli.manifests import STDIN, Source, load_manifests
from meshnode.cli.output import yaml_of
from meshnode.model.agent import parse_agent_spec
from meshnode.model.agentcluster import parse_spec
from meshnode.model.commands import JsonObject
from meshnode.model.declared import parse_declared
from meshnode.model.durability import parse_durability
from meshnode.model.errors import LocalError, RemoteError
from meshnode.model.nodewish import parse_node_spec
from meshnode.model.policy import roles_of
from meshnode.model.quantity import parse_bytes, parse_milli, parse_quantity, parse_share, show_bytes, show_milli
from meshnode.model.where import parse_where, unfit

CORPUS = Path(__file__).parent / "corpus" / "manifests"
EXAMPLES = Path(__file__).parents[2] / "examples" / "clusters"
ATTRIBUTES = {"gpu_mem": "24Gi", "cpus": 8, "site": "plant-7", "arch": "aarch64", "load": 0.5}


def one_input(data: bytes) -> None:
    body = data[1:]
    try:
        PARSERS[data[0] % len(PARSERS) if data else 0](body)
    except LocalError as error:  # a person's error counts as a refusal by its name
        if not (error.message and error.next_step):
            raise AssertionError("a refusal says what is wrong and what to do") from error
        raise RemoteError(error.code) from error


def _yaml(data: bytes) -> None:
    try:
        sources = _loaded(data)
    except LocalError as error:
        if not error.message.startswith(STDIN) or not 1 <= int(str(error.details.get("line", 1))) <= len(data) + 1:
            raise AssertionError("a refusal names the file and a line of it") from error
        raise
    for source in sources:
        (again,) = _loaded(yaml_of(source.manifest).encode())
        assert again.manifest == source.manifest, "printed and read again it is another one"
    for source in sources:
        _declared(source.manifest)


def _loaded(data: bytes) -> list[Source]:
    """From the standard input, as ``apply -f -`` does."""
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(data))
    try:
        return load_manifests(STDIN)
    finally:
        sys.stdin = before


def _json(data: bytes) -> None:
    _declared(_object(data))


def _object(data: bytes) -> JsonObject:
    try:
        return msgspec.json.decode(data, type=JsonObject)
    except (ValueError, RecursionError):  # as the API answers it
        raise RemoteError("no-json") from None


def _declared(manifest: JsonObject) -> None:
    found = parse_declared(manifest)
    assert parse_declared(manifest) == found
    assert found.kind and found.name


def _where(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    constraints = parse_where(text)
    reason = unfit(constraints, ATTRIBUTES)
    again = parse_where(",".join(f"{each.name}{each.operator}{each.wanted}" for each in constraints))
    assert unfit(again, ATTRIBUTES) == reason


def _quantity(data: bytes) -> None:
    text = data.decode("utf-8", "replace")
    exact = parse_quantity(text)
    assert exact >= 0 and parse_quantity(text) == exact
    assert parse_milli(show_milli(parse_milli(text))) == parse_milli(text)
    assert parse_bytes(show_bytes(parse_bytes(text))) == parse_bytes(text)


def _share(data: bytes) -> None:
    parse_share(data.decode("utf-8", "replace"))


def _spec(data: bytes) -> None:
    spec = _object(data[1:])
    match (data[0] if data else 0) % 4:
        case 0:
            parse_agent_spec(spec)
        case 1:
            parse_spec(spec)
        case 2:
            parse_node_spec(spec)
        case _:
            roles_of(spec.get("roles"))


def _durability(data: bytes) -> None:
    found = parse_durability(data.decode("utf-8", "replace"))
    assert parse_durability(found.written()) == found


PARSERS: tuple[Callable[[bytes], None], ...] = (_yaml, _json, _where, _quantity, _spec, _durability, _share)


def seeds() -> Iterator[tuple[str, bytes]]:
    """How the first files of the corpus were made: ``NAME, bytes``."""
    yield "empty", b""
    for path in sorted(EXAMPLES.glob("*.yaml")):
        text = path.read_bytes()
        (source,) = _loaded(text)
        yield f"yaml-{path.stem}", b"\0" + text
        yield f"json-{path.stem}", b"\1" + msgspec.json.encode(source.manifest)
        yield f"spec-{path.stem}", b"\4\1" + msgspec.json.encode(source.manifest["spec"])
    for kind, spec in _SPECS:
        manifest = {"apiVersion": "v1", "kind": kind, "metadata": {"name": "x"}, "spec": spec}
        yield f"yaml-{kind.lower()}", b"\0" + yaml_of(manifest).encode()
        yield f"json-{kind.lower()}", b"\1" + msgspec.json.encode(manifest)
    yield "yaml-words", b"\0a: [no, 0x1f, 0o17, 1e3, .5, ~, '1', 007, +1, 2026-01-01, 1_000, 12:30:45, .inf, =, <<]"
    yield "yaml-two", b"\0a: 1\n---\nb: 2\n"
    yield "yaml-alias", b"\0a: &x 1\nb: *x"
    yield "yaml-tag", b"\0a: !!python/object:os.system ls"
    yield "yaml-deep", b"\0" + b"[" * 40
    yield "yaml-broken", b"\0a: [\n"
    yield "yaml-not-text", b"\0a: \xff"
    yield "where", b"\2gpu_mem>=2Gi,site=plant-7,cpus>=4,arch!=x86_64"
    yield "where-wrong", b"\2cpus>many"
    for number, text in enumerate((b"500m", b"4Gi", b"0.5", b"1e3", b"9" * 40)):
        yield f"quantity-{number}", b"\3" + text
    yield "durability", b"\5replicated(2)"
    yield "share", b"\x0670%"


_SPECS: tuple[tuple[str, JsonObject], ...] = (
    ("Agent", {"run": {"file": "/a.py", "env": {"A": "1"}}, "replicas": 2, "durability": "local", "near": "alpha"}),
    ("Agent", {"run": {"command": ["sleep", "1"], "cwd": "/"}, "resources": {"memory": "1Gi", "cpu": "500m"}}),
    ("Node", {"drain": True, "reason": "a fan"}),
    ("Policy", {"roles": ["member"]}),
)


if __name__ == "__main__":
    from tests.fuzz.driver import main

    sys.exit(main("manifests", one_input, CORPUS))
