"""What may be asked of each list: filters, sorts, search. The API's parameters, its OpenAPI, both stores' columns and
the page's filter bar are all made from this table."""

import dataclasses
from collections.abc import Mapping

LIMIT_DEFAULT, LIMIT_MAX = 50, 500


@dataclasses.dataclass(frozen=True, kw_only=True, slots=True)
class Listing:
    """One list of current rows.

    ``filters``: columns that may be asked for by value (several values: any of them). ``sorts``: columns it may be
    ordered by, ties by key; the first is the default, "-" before it means descending. ``search``: columns in which
    ``q`` finds a part of a word, ignoring case.
    """

    kind: str
    summary: str
    filters: tuple[str, ...]
    sorts: tuple[str, ...]
    search: tuple[str, ...]


LISTINGS: Mapping[str, Listing] = {
    listing.kind: listing
    for listing in (
        Listing(
            kind="nodes",
            summary="Nodes, as the gateway's node knows them",
            filters=("name", "region", "state", "path", "drained"),
            sorts=("name", "region", "state", "cpu_percent", "memory_percent", "agents", "proof_ms", "rtt_ms"),
            search=("name", "region"),
        ),
        Listing(
            kind="instances",
            summary="Units of agents, one row for each node that runs one",
            filters=("agent", "node", "region", "state", "durability"),
            sorts=("instance", "agent", "node", "state", "restarts", "version"),
            search=("instance", "node"),
        ),
        Listing(
            kind="skills",
            summary="Skills, by agent and node",
            filters=("skill", "agent", "node", "region"),
            sorts=("skill", "agent", "node", "rtt_ms"),
            search=("skill", "agent", "description"),
        ),
        Listing(
            kind="wishes",
            summary="What documents want of the mesh, and how far it is",
            filters=("kind", "namespace", "name"),
            sorts=("name", "-pending", "wanted", "updated_ms"),
            search=("name",),
        ),
        Listing(
            kind="conflicts",
            summary="Fields and keys with concurrent values, all of them kept",
            filters=("kind", "namespace", "name"),
            sorts=("name", "field"),
            search=("name", "field"),
        ),
        Listing(
            kind="problems",
            summary="What a person should read first",
            filters=("severity",),
            sorts=("-since_ms",),
            search=("text",),
        ),
        Listing(
            kind="cursors",
            summary="How far each node's journal has been committed here",
            filters=("node",),
            sorts=("node", "as_of_ms"),
            search=("node",),
        ),
        Listing(
            kind="gaps",
            summary="Ranges of journals that are missing here",
            filters=("node",),
            sorts=("-noticed_ms", "node"),
            search=("node",),
        ),
        Listing(
            kind="commands",
            summary="Requests to the mesh, and what became of them",
            filters=("verb", "state"),
            sorts=("-asked_ms",),
            search=("command_id",),
        ),
    )
}
