"""The demo's witness: a process of its own that reads the public API and the files on disk, never the daemons' story.

JSON lines: ``{"check": NAME, ...}`` in, ``{"holds": bool, "seen": str, "took_s": float | null}`` out. Times are on
CLOCK_MONOTONIC, which all processes of a machine share.
"""

import json
import sys
import time
from collections.abc import Callable, Iterable
from typing import Any

from meshnode.model.errors import LocalError, MeshError
from tests.demo import agents_seen, evidence, history, reckoned
from tests.demo.evidence import Seen
from tests.demo.looking import client_of as _client
from tests.demo.looking import until

Check = Callable[[dict[str, Any]], Seen]


def members(order: dict[str, Any]) -> Seen:
    """Every node lists every other as ready, over links of its own."""
    wanted = sorted(order["names"])

    def look() -> Seen:
        for name, directory in order["nodes"].items():
            listed = sorted(n.name for n in _client(directory).nodes() if n.state == "ready")
            if listed != wanted:
                return Seen(holds=False, seen=f"{name} sees {listed}")
        return Seen(holds=True, seen=f"{len(order['nodes'])} nodes list {', '.join(wanted)}")

    return until(look, order["since"], order["wait_s"])


def state(order: dict[str, Any]) -> Seen:
    """Every asker sees ``subject`` in one of ``states``; with "not" true: in none of them."""

    def look() -> Seen:
        for name, directory in order["nodes"].items():
            found = _client(directory).node(order["subject"])
            if (found.state in order["states"]) == order.get("not", False):
                return Seen(holds=False, seen=f"{name} sees {order['subject']} {found.state}")
        return Seen(holds=True, seen=f"all {len(order['nodes'])} see {order['subject']} {found.state}")

    return until(look, order["since"], order["wait_s"])


def hardware(order: dict[str, Any]) -> Seen:
    """Each node's facts about itself, as read from another node, match this process's own measurement."""
    return until(lambda: evidence.hardware(_client(order["asked"]), order["names"]), order["since"], order["wait_s"])


def cut(order: dict[str, Any]) -> Seen:
    """Between the sides nothing passes: ping fails and the age of the last proof of life grows."""
    client = _client(order["asked"])
    try:
        pinged = client.ping(order["subject"], 1.0)
        return Seen(holds=False, seen=f"ping was answered in {pinged.rtt_ms} ms")
    except LocalError as error:
        failed = error.code
    first = client.node(order["subject"]).age_s
    time.sleep(0.5)
    second = client.node(order["subject"]).age_s
    return Seen(holds=second >= first + 0.4, seen=f"ping: {failed}; age {first:.1f} s, then {second:.1f} s")


def documents(order: dict[str, Any]) -> Seen:
    """All nodes hold the same documents, and in them every acknowledged write."""

    def look() -> Seen:
        roots = {name: _client(directory).status().documents_root for name, directory in order["nodes"].items()}
        if len(dict.fromkeys(roots.values())) != 1:
            return Seen(holds=False, seen=f"roots differ: {roots}")
        for name, directory in order["nodes"].items():
            client = _client(directory)
            missing = evidence.missing_writes(client.documents("AgentCluster"), client.conflicts(), order["ledger"])
            if missing:
                return Seen(holds=False, seen=f"{name} lacks {missing}")
        return Seen(holds=True, seen=f"{len(order['ledger'])} acknowledged writes on {len(roots)} nodes, one root")

    return until(look, order["since"], order["wait_s"])


def conflict(order: dict[str, Any]) -> Seen:
    """The field both sides wrote shows both values, on every node, the same one in force."""
    shown: dict[str, list[Any]] = {}
    for name, directory in order["nodes"].items():
        for found in _client(directory).conflicts():
            if (found.name, found.field) == (order["name"], order["field"]):
                shown[name] = list(found.values)
    same = len({json.dumps(values) for values in shown.values()}) == 1
    complete = len(shown) == len(order["nodes"]) and all(
        sorted(map(json.dumps, values)) == sorted(map(json.dumps, order["values"])) for values in shown.values()
    )
    return Seen(
        holds=same and complete, seen=f"{order['field']}: {shown.get(next(iter(order['nodes'])), 'not listed')}"
    )


def on_disk(order: dict[str, Any]) -> Seen:
    """The journal file itself holds every acknowledged write of the ledger."""
    return evidence.journal_holds(order["directory"], order["ledger"])


def knows(order: dict[str, Any]) -> Seen:
    """Alone after its restart, a node still lists everybody (with ages) and has every acknowledged write."""

    def look() -> Seen:
        client = _client(order["asked"])
        names = sorted(n.name for n in client.nodes())
        missing = evidence.missing_writes(client.documents("AgentCluster"), client.conflicts(), order["ledger"])
        if names != sorted(order["names"]) or missing:
            return Seen(holds=False, seen=f"knows {names}, lacks {missing}")
        connected = client.status().peers_connected
        return Seen(holds=connected == 0, seen=f"{len(names)} nodes, {len(order['ledger'])} writes, {connected} links")

    return until(look, order["since"], order["wait_s"])


def answers(order: dict[str, Any]) -> Seen:
    """The local API answers."""
    return until(lambda: Seen(holds=_client(order["asked"]).status().boot > 1, seen="status answered"), order["since"])


def forged(order: dict[str, Any]) -> Seen:
    """Nothing forged is believed anywhere, and the refusals were counted."""
    return until(lambda: evidence.forgeries_refused(order, _client), order["since"], wait_s=5.0)


def no_certificate(order: dict[str, Any]) -> Seen:
    return evidence.refused_without_certificate(order["listen"])


def gone(order: dict[str, Any]) -> Seen:
    return evidence.nothing_left(order["pids"], order["ports"], order["runs"])


CHECKS: dict[str, Check] = {
    check.__name__: check
    for check in (
        members, state, hardware, cut, documents, conflict, on_disk, knows, answers, forged, no_certificate, gone,
        agents_seen.words, agents_seen.called_across, agents_seen.skills_known, agents_seen.fed, agents_seen.inspector,
        agents_seen.lines_counted, agents_seen.watcher, agents_seen.running, agents_seen.placed, agents_seen.meters,
        agents_seen.streamed, agents_seen.progress, agents_seen.repeats, agents_seen.no_errors,
        reckoned.every_one, reckoned.no_one_twice, reckoned.file_keeps, reckoned.files,
        reckoned.siblings, reckoned.speed, reckoned.load_told, history.kept, history.watched,
    )
}  # fmt: skip


def serve(lines: Iterable[str]) -> None:
    for line in lines:
        order = json.loads(line)
        try:
            seen = CHECKS[order["check"]](order)
        except MeshError as error:
            seen = Seen(holds=False, seen=str(error))
        sys.stdout.write(json.dumps({"holds": seen.holds, "seen": seen.seen, "took_s": seen.took_s}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    serve(sys.stdin)
