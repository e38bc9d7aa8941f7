"""What the verifier checks about agents: that they answer, where, how fast, and with everything they were told."""

import csv
import gzip
import importlib.util
import time
from collections import Counter
from pathlib import Path
from typing import Any

import psutil

from meshnode.client.client import Client
from meshnode.model.commands import CallSkill
from meshnode.model.views import CallView, StreamItem
from tests.demo import evidence
from tests.demo.evidence import Seen
from tests.demo.ledger import Line, read_ledger
from tests.demo.looking import client_of, until
from tests.demo.reckoning import Counted, lost, some

Order = dict[str, Any]
METER_SLOTS = 4
READ_S = 3.0
ASK_AGAIN_S = 0.5  # a call into silence is not waited for: what counts is when somebody answers
WITNESSED_IMAGES = 30
MEMORY_POINTS = 8
MERGING_S = 5.0  # after a cut two owners may still not have found each other
ROUNDS_ON_THE_WAY = 2  # told to a caller, and not yet on another node


def words(order: Order) -> Seen:
    """A call of words.count on this repository's text gives what this process counts by itself."""
    expected = evidence.count_words(order["text"])
    took: list[float] = []
    for name, directory in order["nodes"].items():
        began = time.monotonic()
        view = client_of(directory).call(CallSkill(skill="words.count", arguments={"text": order["text"]}))
        took.append((time.monotonic() - began) * 1000)
        if (view.result["words"], view.result["unique"]) != expected or view.node != order["holder"]:
            return Seen(
                holds=False, seen=f"{name} got {view.result['words']} words from {view.node}, not {expected[0]}"
            )
    return Seen(holds=True, seen=f"{expected[0]} words, {expected[1]} different; slowest call {max(took):.0f} ms")


def called_across(order: Order) -> Seen:
    """words.count, called through one of these nodes, is answered by another."""

    def look() -> Seen:
        for name, directory in order["nodes"].items():
            view = _call(client_of(directory), "words.count", text="one two")
            if view.node != name and view.result["words"] == 2:
                return Seen(holds=True, seen=f"{name} was answered by {view.node}")
        return Seen(holds=False, seen="each node answers itself")

    return until(look, order["since"], order["wait_s"])


def skills_known(order: Order) -> Seen:
    """Every asked node finds each skill in its own index."""

    def look() -> Seen:
        for name, directory in order["nodes"].items():
            known = {s.skill for s in client_of(directory).skills() if not s.excluded}
            if missing := [skill for skill in order["skills"] if skill not in known]:
                return Seen(holds=False, seen=f"{name} does not know {', '.join(missing)}")
        return Seen(holds=True, seen=f"{len(order['skills'])} skills found by name on {len(order['nodes'])} nodes")

    return until(look, order["since"], order["wait_s"])


def fed(order: Order) -> Seen:
    """words knows exactly the texts it was fed, all of them, wherever it runs now. ``texts``: by name."""
    expected = sum(evidence.count_words(text)[0] for text in order["texts"].values())

    def look() -> Seen:
        view = _call(client_of(order["asked"]), "words.known", to="agent/words/0")
        got, where = (view.result["texts"], view.result["words"]), f"{view.instance} on {view.node}"
        away = view.node != order.get("dead", "")
        return Seen(
            got == (len(order["texts"]), expected) and away,
            f"{where}: {got[0]} texts, {got[1]} words",
            final=away and got[1] < expected,
        )

    return until(look, order["since"], order["wait_s"])


def inspector(order: Order) -> Seen:
    """Real images, judged by this process' own copy of the data: the agent's verdicts, and its own measure of them."""
    truth = _digits()
    clients = [client_of(directory) for directory in order["nodes"].values()]
    right = 0
    for number in range(WITNESSED_IMAGES):
        client = clients[number % len(clients)]
        image = _call(client, "inspector.sample", number=number * 17).result["image"]
        verdict = _call(client, "inspector.classify_image", image=image).result
        right += verdict["digit"] == truth[tuple(map(int, image))]
    told = _call(clients[0], "inspector.accuracy").result
    holds = right / WITNESSED_IMAGES >= order["least"] and told["accuracy"] >= order["least"]
    return Seen(
        holds,
        f"{right} of {WITNESSED_IMAGES} right by our own count, {told['accuracy']:.3f} of {told['images']} by its own",
    )


def _digits() -> dict[tuple[int, ...], int]:
    """Image to digit, from the file in scikit-learn's package; nothing of it is imported."""
    found = importlib.util.find_spec("sklearn")
    assert found is not None and found.origin is not None
    file = Path(found.origin).parent / "datasets" / "data" / "digits.csv.gz"
    with gzip.open(file, "rt") as rows:
        return {tuple(map(int, map(float, row[:64]))): int(float(row[64])) for row in csv.reader(rows)}


def lines_counted(order: Order) -> Seen:
    """The inspector keeps counts for each production line: of its own, and all add up."""
    client = client_of(order["asked"])
    numbers = range(12)
    for number in numbers:
        _call(client, "inspector.inspect", number=number, line=f"press-{number % 3}")
    each = [
        sum(_call(client, "inspector.found", line=f"press-{press}").result.values()) for press in range(3)
    ]  # fmt: skip
    total = _call(client, "inspector.found").result["inspected"]
    return Seen(each == [4, 4, 4] and total == sum(each), f"lines have {each}, together {total}")


def watcher(order: Order) -> Seen:
    """Its rounds grow beyond ``more_than``, and what it reads is this machine's telemetry."""

    def look() -> Seen:
        view = _call(client_of(order["asked"]), "watcher.sensors")
        rows = {row["sensor"]: row for row in view.result}
        rounds, memory = rows["memory"]["readings"], rows["memory"]["last"]
        here = psutil.virtual_memory().percent
        real = memory is not None and abs(memory - here) <= MEMORY_POINTS
        grown = rounds > order["more_than"] and view.node != order.get("dead", "")
        return Seen(
            grown and real,
            f"{rounds} rounds on {view.node}, memory {memory} %, here {here} %",
            final=rounds < order["more_than"] - ROUNDS_ON_THE_WAY,
        )

    return until(look, order["since"], order["wait_s"])


def running(order: Order) -> Seen:
    """Every asked node sees exactly the wanted number of units of each agent running, and no unit twice."""

    def look() -> Seen:
        for name, directory in order["nodes"].items():
            units = [u for u in client_of(directory).agents() if u.state != "unreachable" and u.name in order["wanted"]]
            seen = Counter(unit.instance for unit in units)
            doubled = [unit for unit, count in seen.items() if count > 1]
            counts = Counter(unit.name for unit in units if unit.state == "running")
            if doubled or any(counts[agent] != wanted for agent, wanted in order["wanted"].items()):
                return Seen(holds=False, seen=f"{name} sees {dict(counts)} running, twice: {doubled or 'none'}")
        total = sum(order["wanted"].values())
        return Seen(holds=True, seen=f"{total} units, each once, say {', '.join(order['nodes'])}")

    return until(look, order["since"], order["wait_s"])


def placed(order: Order) -> Seen:
    """Where the units of one agent run, as JSON of the demo: ``seen`` is not for people."""
    units = [u for u in client_of(order["asked"]).agents() if u.name == order["agent"] and u.state == "running"]
    return Seen(holds=bool(units), seen=" ".join(f"{u.instance.partition('/')[2]}:{u.node}" for u in units))


def meters(order: Order) -> Seen:
    """These slots of the meter answer, and with every reading acknowledged before ``since`` (or ``until``).

    ``dead``: it must not be this node that answers. ``safe``: only readings that were durable on two nodes count, as
    their acknowledgement said; ``by``: only those that this node acknowledged. ``took_s``: when the last of the slots
    had answered.
    """
    lines = [line for line in read_ledger(order["ledger"]) if line.ended < order.get("until", order["since"])]
    if order.get("safe"):
        lines = [line for line in lines if line.attempts[-1].durability != "local"]
    if "by" in order:
        lines = [line for line in lines if line.attempts[-1].node == order["by"]]
    client = client_of(order["asked"])
    known: dict[int, Counted] = {}

    def look() -> Seen:
        for slot in order["slots"]:
            if slot not in known:
                view = _call(client, "meter.read", to=f"agent/meter/{slot}", deadline_s=ASK_AGAIN_S)
                if view.node == order.get("dead", ""):
                    return Seen(holds=False, seen=f"{view.instance} answered on {view.node}")
                known[slot] = Counted(view.result["total"], view.result["ids"])
        missing = lost(lines, known)
        if missing:
            return Seen(holds=False, seen=f"{len(missing)} acknowledged readings are gone: {some(missing)}", final=True)
        kept = sum(line.acknowledged and line.slot in known for line in lines)
        return Seen(holds=True, seen=f"all {kept} acknowledged before are there" if lines else f"{len(known)} answer")

    return until(look, order["since"], order["wait_s"])


def streamed(order: Order) -> Seen:
    """A stream from another node brings every item once, in order, and its end."""
    items: list[str] = []
    end: CallView | None = None
    command = CallSkill(skill="cap/meter.listing", to=f"agent/meter/{order['slot']}", stream=True)
    for told in client_of(order["asked"]).call_stream(command):
        if isinstance(told, StreamItem):
            items.append(told.item)
        else:
            end = told
    return Seen(
        end is not None and items == sorted(set(items)) and len(items) > 0,
        f"{len(items)} items from {end.node if end else 'nobody'}, in order",
    )


def progress(order: Order) -> Seen:
    """The load is at work: this many readings acknowledged at least."""

    def look() -> Seen:
        lines = read_ledger(order["ledger"])
        done = [line for line in lines if line.acknowledged and line.ended > order.get("after", 0.0)]
        through = {line.attempts[-1].through for line in done}
        missing = [name for name in order["through"] if name not in through]
        return Seen(
            len(done) >= order["least"] and not missing,
            f"{len(done)} readings acknowledged through {', '.join(sorted(through)) or 'nobody'}",
        )

    return until(look, order["since"], order["wait_s"])


def repeats(order: Order) -> Seen:
    """Keys that were sent again, through another daemon, got the stored answer.

    Only across a cut (``cuts``: from, to) a key may run again, on the other side: what that added is taken back when
    the sides meet.
    """
    again = [line for line in read_ledger(order["ledger"]) if line.repeated and not line.repeated.code]
    ran = [line for line in again if not _same(line)]
    wrong = [_told(line, order["cuts"]) for line in ran if not _across(line, order["cuts"])]
    across = f", {len(ran)} ran beyond the cut and were taken back" if ran else ""
    return Seen(
        bool(again) and not wrong,
        f"{len(wrong)} ran again: {some(wrong)}" if wrong else f"{len(again)} sent again{across}",
    )


def _across(line: Line, cuts: list[list[float]]) -> bool:
    assert line.repeated is not None
    return any(line.began <= until + MERGING_S and line.repeated.ended >= since for since, until in cuts)


def _told(line: Line, cuts: list[list[float]]) -> str:
    assert line.repeated is not None
    first, second, since = line.attempts[-1], line.repeated, cuts[-1][0] if cuts else 0.0
    return (
        f"{line.id} on {first.node} at {first.ended - since:.2f} s ({first.durability}, total {first.total}), on "
        f"{second.node} at {second.ended - since:.2f} s (total {second.total}{', replayed' if second.replayed else ''})"
    )


def _same(line: Line) -> bool:
    assert line.repeated is not None
    return line.repeated.replayed and line.repeated.total == line.attempts[-1].total


def no_errors(order: Order) -> Seen:
    """Of the calls between survivors none failed. ``homes``: slot to the survivor that ran it all the time."""
    lines = read_ledger(order["ledger"])
    concerned = [
        attempt
        for line in lines
        if str(line.slot) in order["homes"]
        for attempt in line.attempts
        if attempt.through in order["survivors"] and order["since_calls"] <= attempt.began <= order["until"]
    ]
    failed = [f"{a.through}: {a.code} {a.message}" for a in concerned if a.code]
    return Seen(
        bool(concerned) and not failed,
        f"{len(concerned)} calls between them, {len(failed)} failed {some(failed)}".strip(),
    )


def _call(client: Client, skill: str, /, *, to: str = "", deadline_s: float = READ_S, **arguments: object) -> CallView:
    return client.call(CallSkill(skill=skill, arguments=arguments, to=to, deadline_s=deadline_s))
