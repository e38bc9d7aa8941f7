"""Rows: what the gateway keeps of the fleet. Times are wall clock milliseconds since 1970.

A current row says what was last known and when that was proven (``as_of_ms``); whether that is stale is judged when
it is shown. The fields named in ``model/listings.py`` can be filtered and sorted; ``*_json`` bodies are carried as
they came.
"""

from typing import Any

import msgspec

JsonObject = dict[str, Any]


class Row(msgspec.Struct, frozen=True, kw_only=True):
    """Fields are only ever added, with defaults."""


class NodeRow(Row, frozen=True):
    """One node. Key: ``node_id``.

    ``state``: ready, suspect, unreachable, down, left. Percentages 0..100, None where the machine does not tell.
    ``attributes``: what skill search measures constraints against: labels, region, cpus, memory and gpu_mem in bytes,
    gpus, arch. ``proof_ms``: last proof of life, 0 = never heard since the gateway's node started.
    """

    node_id: str
    name: str
    region: str = ""
    state: str = "ready"
    reason: str = ""
    roles: list[str] = []
    boot: int = 0
    path: str = ""
    rtt_ms: float | None = None
    agents: int = 0
    drained: bool = False
    cpu_percent: float | None = None
    memory_percent: float | None = None
    disk_percent: float | None = None
    accelerator_percent: float | None = None
    celsius: float | None = None
    load_average: float | None = None
    endpoints: list[str] = []
    attributes: dict[str, str | float | int] = {}
    hardware: JsonObject = {}
    load: JsonObject = {}
    proof_ms: int = 0
    as_of_ms: int = 0


class InstanceRow(Row, frozen=True):
    """One unit of an agent on one node. Key: (``instance``, ``node``): after a cut two nodes may run the same unit.

    ``state``: starting, running, backoff, stopping, stopped, failed, unreachable, pending.
    """

    instance: str  # AGENT/SLOT
    agent: str
    node: str
    region: str = ""
    state: str = "running"
    reason: str = ""
    pid: int | None = None
    restarts: int = 0
    skills: list[str] = []
    slots: int = 1
    epoch: str = ""
    version: int = 0
    durability: str = ""
    copies: list[str] = []
    as_of_ms: int = 0


class OfferRow(Row, frozen=True):
    """One skill offered by one agent on one node. Key: (``skill``, ``agent``, ``node``)."""

    skill: str
    agent: str
    node: str
    region: str = ""
    description: str = ""
    input_schema: JsonObject = {}
    output_schema: JsonObject = {}
    rtt_ms: float | None = None
    excluded: str = ""  # why it would not be called now
    as_of_ms: int = 0


class WishRow(Row, frozen=True):
    """One document that wants something: kind Agent or AgentCluster. Key: (``kind``, ``namespace``, ``name``).

    ``wanted``/``running``/``pending``: units. ``reason``: of what is pending. ``conditions``: Kubernetes style.
    """

    kind: str
    namespace: str
    name: str
    wanted: int = 0
    running: int = 0
    pending: int = 0
    reason: str = ""
    spec: JsonObject = {}
    status: JsonObject = {}
    conditions: list[JsonObject] = []
    conflicts: list[str] = []
    updated_ms: int = 0
    updated_by: str = ""
    as_of_ms: int = 0


class ConflictRow(Row, frozen=True):
    """A field of a document, or a key of a state, with concurrent values. Key: (``kind``, ``namespace``, ``name``,
    ``field``). The first value is the one in force."""

    kind: str
    namespace: str
    name: str
    field: str
    values: list[Any] = []
    writers: list[str] = []
    as_of_ms: int = 0


class ProblemRow(Row, frozen=True):
    """Something a person should read first. Key: ``text``. ``severity``: "error" or "warning"; ``link``: the page's
    route to what it is about, e.g. ``nodes/beta``."""

    text: str
    severity: str = "warning"
    link: str = ""
    since_ms: int = 0


class EventRow(Row, frozen=True):
    """One entry of a node's journal, addressed (``node_id``, ``life``, ``boot``, ``number``).

    ``number`` grows by one with every event of a journal. ``life`` counts how often the node's journal began anew
    (lost disk, restored backup), as seen by the gateway. ``subject``: "KIND/NAME".
    """

    node_id: str
    node: str
    life: int
    boot: int
    number: int
    at_ms: int
    subject: str
    text: str
    region: str = ""


class GapRow(Row, frozen=True):
    """Events ``first``..``last`` of a node that cannot be had any more, or not yet. ``why`` is for people.

    ``last`` 0: not known (the journal began anew). Key: (``node_id``, ``life``, ``first``).
    """

    node_id: str
    node: str
    life: int
    first: int
    last: int
    count: int
    why: str
    noticed_ms: int


class CursorRow(Row, frozen=True):
    """How far a node's journal is committed here. Key: ``node_id``. ``run``: hex id of the daemon's start that wrote
    the event ``number``, by which a journal that began anew is recognised. ``last``: newest number the node has
    told."""

    node_id: str
    node: str
    life: int = 1
    boot: int = 0
    number: int = 0
    run: str = ""
    last: int = 0
    missing: str = ""  # why its journal cannot be read at the moment
    as_of_ms: int = 0


class LoadPoint(Row, frozen=True):
    """One sample of a node's load; None: not told. Percentages 0..100."""

    node_id: str
    at_ms: int
    cpu: float | None = None
    memory: float | None = None
    disk: float | None = None
    accelerator: float | None = None
    load: float | None = None


class LoadSpan(Row, frozen=True):
    """A rollup: minimum, mean and maximum over ``step_ms`` from ``at_ms`` on, of one measure; ``count`` samples."""

    at_ms: int
    step_ms: int
    count: int
    low: float
    mean: float
    high: float


class CommandRow(Row, frozen=True):
    """A request to the mesh. Key: ``command_id``.

    ``verb``: apply, delete, scale, drain, resume. ``state``: "queued" (kept here, no node has taken it), "accepted"
    (durable at a node), "applied" (the mesh is as it asked), "failed" (``answer`` says why; nothing will be tried
    again).
    """

    command_id: str
    verb: str
    body: JsonObject
    state: str = "queued"
    answer: str = ""
    attempts: int = 0
    by: str = ""
    asked_ms: int = 0
    changed_ms: int = 0


class SourceRow(Row, frozen=True):
    """Through which node the gateway sees the mesh, and how well. ``problem`` "" = all is well."""

    node: str = ""
    mesh: str = ""
    version: str = ""
    as_of_ms: int = 0
    problem: str = ""
    poll_s: float = 1.0
    puller: str = ""  # which replica pulls


# Current rows, by the word that paths and the live feed use. In this order they are shown and committed.
CURRENT: dict[str, type[Row]] = {
    "nodes": NodeRow,
    "instances": InstanceRow,
    "skills": OfferRow,
    "wishes": WishRow,
    "conflicts": ConflictRow,
    "problems": ProblemRow,
    "cursors": CursorRow,
    "gaps": GapRow,
    "commands": CommandRow,
}
KEYS: dict[str, tuple[str, ...]] = {
    "nodes": ("node_id",),
    "instances": ("instance", "node"),
    "skills": ("skill", "agent", "node"),
    "wishes": ("kind", "namespace", "name"),
    "conflicts": ("kind", "namespace", "name", "field"),
    "problems": ("text",),
    "cursors": ("node_id",),
    "gaps": ("node_id", "life", "first"),
    "commands": ("command_id",),
}
Key = tuple[str | int, ...]


def key_of(kind: str, row: Row) -> Key:
    """The values that identify a row among those of its kind."""
    return tuple(getattr(row, name) for name in KEYS[kind])
