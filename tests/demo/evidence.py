"""How the verifier knows: own measurements, own parsing of files, own sockets."""

import os
import re
import socket
import ssl
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from meshnode.client.client import Client
from meshnode.crdt.shelf import restored
from meshnode.kernel.journal import recover
from meshnode.kernel.records import RecordKind
from meshnode.model.document_views import DocumentView
from meshnode.model.view_parts import ConflictView
from tests.demo.processes import marked

MEMORY_TOLERANCE = 0.02
LOAD_AGE_MAX_S = 70.0
LOAD_MEMORY_POINTS = 8


class Seen(NamedTuple):
    """What a check found. ``took_s``: from the moment the check was told to count from. ``final``: no use to wait."""

    holds: bool
    seen: str
    took_s: float | None = None
    final: bool = False


def count_words(text: str) -> tuple[int, int]:
    """Words and different words, counted by another way than the agent's."""
    runs = re.split(r"[\W\d_]*(?<!\w)['\u2019]|['\u2019](?!\w)|[^\w'\u2019]|[\d_]", text.lower())
    found = [word for run in runs if (word := run.strip("'\u2019"))]
    return len(found), len(set(found))


def hardware(client: Client, names: Sequence[str]) -> Seen:
    """CPUs and memory of every node as one node knows them, against psutil in this process (it is one machine)."""
    cpus, memory = psutil.cpu_count() or 0, psutil.virtual_memory()
    for name in names:
        view = client.node(name)
        told_cpus = view.hardware.get("cpu", {}).get("logical")
        told_memory = view.hardware.get("memory", {}).get("total_bytes", 0)
        if told_cpus != cpus or abs(told_memory - memory.total) > MEMORY_TOLERANCE * memory.total:
            return Seen(
                holds=False, seen=f"{name} says {told_cpus} CPUs, {told_memory} bytes; here {cpus}, {memory.total}"
            )
        age, used = view.load.get("age_s"), view.load.get("memory_percent")
        if age is None or age > LOAD_AGE_MAX_S or used is None or abs(used - memory.percent) > LOAD_MEMORY_POINTS:
            return Seen(holds=False, seen=f"{name} load {view.load}, here memory {memory.percent} %")
    gib = memory.total / 2**30
    return Seen(holds=True, seen=f"{len(names)} nodes: {cpus} CPUs, {gib:.1f} GiB, live load with memory {used} %")


def missing_writes(
    documents: Sequence[DocumentView], conflicts: Sequence[ConflictView], ledger: Sequence[dict[str, Any]]
) -> list[str]:
    """Acknowledged writes that are neither in force nor a listed sibling."""
    shown = {(d.namespace, d.name, key): value for d in documents for key, value in d.spec.items()}
    siblings = {(c.namespace, c.name, c.field.removeprefix("spec.")): list(c.values) for c in conflicts}
    missing: list[str] = []
    for write in ledger:
        key = (write["namespace"], write["name"], write["field"])
        if shown.get(key) != write["value"] and write["value"] not in siblings.get(key, []):
            missing.append("/".join(key) + f"={write['value']!r}")
    return missing


def journal_holds(directory: str, ledger: Sequence[dict[str, Any]]) -> Seen:
    """Parse the journal file from scratch and look for an envelope of every document in the ledger."""
    data = (Path(directory) / "journal").read_bytes()
    recovered = recover(data)
    names: dict[tuple[str, str], int] = {}
    for record in recovered.records:
        if record.kind is RecordKind.ENVELOPE and record.body:
            kept = restored(record)
            names[kept.namespace, kept.name] = names.get((kept.namespace, kept.name), 0) + 1
    missing = sorted({f"{w['namespace']}/{w['name']}" for w in ledger if (w["namespace"], w["name"]) not in names})
    if missing:
        return Seen(holds=False, seen=f"not in the file: {missing}")
    return Seen(holds=True, seen=f"{len(data)} bytes, {sum(names.values())} signed changes of {len(names)} documents")


def forgeries_refused(order: dict[str, Any], client_of: Callable[[str], Client]) -> Seen:
    refused = 0
    for name, directory in order["nodes"].items():
        client = client_of(directory)
        if any(d.name == order["document"] for d in client.documents("AgentCluster")):
            return Seen(holds=False, seen=f"{name} believes the forged document {order['document']}")
        victim = client.node(order["victim"])
        if victim.state == "left" or order["mark"] in str(victim.hardware):
            return Seen(holds=False, seen=f"{name} believes the forged row: {order['victim']} is {victim.state}")
        counters = client.status().counters
        refused += sum(count for key, count in counters.items() if key.startswith("node.rejected-"))
    return Seen(holds=refused > 0, seen=f"{refused} refusals counted, nothing believed")


def refused_without_certificate(listen: str) -> Seen:
    """A TLS client with the right protocol name and no certificate gets the handshake and not one byte more."""
    host, _, port = listen.rpartition(":")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.set_alpn_protocols(["meshnode/1"])
    try:
        with socket.create_connection((host, int(port)), 3) as plain, context.wrap_socket(plain) as tls:
            tls.sendall(b"\0\0\0\x08\x01\0\0\0\0\0\0\0")
            got = tls.recv(100)
            version = tls.version()
    except ConnectionRefusedError:
        return Seen(holds=False, seen=f"nobody listens on {listen}")
    except (ssl.SSLError, ConnectionError) as error:
        return Seen(holds=True, seen=f"refused: {getattr(error, 'reason', None) or type(error).__name__}")
    return Seen(holds=not got, seen=f"{version}, then {'closed' if not got else 'an answer'}")


def nothing_left(pids: Sequence[int], ports: Sequence[int], runs: Sequence[str]) -> Seen:
    """No process of the demo (``runs``: whose wardens and agents), and nobody listening on its ports."""
    alive = [pid for pid in (*pids, *(pid for run in runs for pid in marked(run))) if _alive(pid)]
    open_ports = [port for port in ports if _listening(port)]
    left = [run for run in runs if Path(run).exists()]
    return Seen(
        holds=not alive and not open_ports and not left,
        seen=f"processes {alive or 'none'}, ports {open_ports or 'none'}, sockets {left or 'none'}",
    )


def _alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE


def _listening(port: int) -> bool:
    with socket.socket() as probe:
        probe.settimeout(1)
        return probe.connect_ex(("127.0.0.1", port)) == 0
