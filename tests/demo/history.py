"""How the verifier knows what the gateway kept: each node's journal, asked of that node, beside the gateway's API."""

import json
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable
from typing import Any
from urllib.parse import urlencode

from meshnode.model.commands import JournalCursor, ReadJournal
from tests.demo.evidence import Seen
from tests.demo.looking import client_of, until

PAGE = 500
TIMEOUT_S = 10.0
Told = tuple[int, int, str, str]  # boot, number, subject, text


def _get(url: str, **query: str | int) -> dict[str, Any]:
    asked = f"{url}?{urlencode(query)}" if query else url
    with urllib.request.urlopen(asked, timeout=TIMEOUT_S) as answer:
        return json.load(answer)


def journal_of(directory: str) -> list[Told]:
    """All that a node's journal holds now, from the node itself."""
    told: list[Told] = []
    cursor = JournalCursor()
    while True:
        view = client_of(directory).journal(ReadJournal(reader="verifier", cursor=cursor, limit=PAGE))
        told += [(entry.boot, entry.number, entry.subject, entry.text) for entry in view.items]
        if not view.items or not view.more:
            return told
        cursor = JournalCursor(boot=view.boot, number=view.items[-1].number, run=view.run)


def history_of(url: str, node: str) -> tuple[list[Told], list[str]]:
    """All that the gateway kept of a node's journal, and the gaps that it shows."""
    told: list[Told] = []
    gaps: list[str] = []
    after = ""
    while True:
        page = _get(f"{url}/api/v1/journal", node=node, limit=PAGE, **({"after": after} if after else {}))
        told += [(row["boot"], row["number"], row["subject"], row["text"]) for row in page["items"]]
        gaps += [gap["why"] for gap in page["gaps"]]
        after = page["next"] or ""
        if not after:
            return told, gaps


def kept(order: dict[str, Any]) -> Seen:
    """The gateway's history of every node is that node's journal: every event once, nothing else, no gap."""

    def look() -> Seen:
        total = 0
        for name, directory in order["nodes"].items():
            theirs = journal_of(directory)
            ours, gaps = history_of(order["url"], name)
            missing = Counter(theirs) - Counter(ours)
            if missing or gaps:
                some = "; ".join(f"{number}: {subject} {text[:40]}" for _, number, subject, text in list(missing)[:2])
                return Seen(holds=False, seen=f"of {name} {len(missing)} of {len(theirs)} are missing ({some}) {gaps}")
            twice = [told for told, count in Counter(ours).items() if count > 1]
            made_up = Counter(ours) - Counter(journal_of(directory))
            if twice or made_up:
                return Seen(
                    holds=False, seen=f"of {name} twice {twice[:2]}, not in its journal {list(made_up)[:2]}", final=True
                )
            total += len(theirs)
        return Seen(holds=True, seen=f"{total} events of {len(order['nodes'])} nodes, each once, no gap")

    return until(lambda: _reached(look), order["since"], order["wait_s"])


def watched(order: dict[str, Any]) -> Seen:
    """The gateway's API lists these nodes as ready, as of now; its page comes, with a policy against foreign
    scripts."""

    def look() -> Seen:
        answer = _get(f"{order['url']}/api/v1/nodes", limit=100)
        ready = sorted(row["name"] for row in answer["items"] if row["state"] == "ready")
        if ready != sorted(order["names"]) or answer["stale"]:
            return Seen(holds=False, seen=f"ready: {ready}, stale: {answer['stale']}")
        with urllib.request.urlopen(f"{order['url']}/", timeout=TIMEOUT_S) as page:
            policy = page.headers.get("Content-Security-Policy", "")
            if b"<title>" not in page.read() or "script-src" not in policy:
                return Seen(holds=False, seen=f"the page has the policy {policy!r}")
        return Seen(holds=True, seen=f"{len(ready)} nodes ready, and the page comes")

    return until(lambda: _reached(look), order["since"], order["wait_s"])


def _reached(look: Callable[[], Seen]) -> Seen:
    try:
        return look()
    except (urllib.error.URLError, TimeoutError, ConnectionError) as error:
        return Seen(holds=False, seen=f"the gateway does not answer: {error}")
