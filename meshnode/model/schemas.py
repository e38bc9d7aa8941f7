"""The kinds of documents as JSON Schema 2020-12: what may be written, for people, editors and the reference.

The parsers are the law. What a schema refuses by type, choice, missing or unknown field, they refuse as well; they also
know rules that concern several fields at once (``tests/unit/model/test_schemas.py`` holds both against each other).
"""

from meshnode.model.agent import GENERATION_MAX, REPLICAS_MAX
from meshnode.model.commands import JsonObject
from meshnode.model.durability import COPIES_MAX
from meshnode.model.interest import OPTIONAL, REGIONS_MAX
from meshnode.model.manifest import API_VERSIONS
from meshnode.model.policy import ROLES
from meshnode.model.recipe import TIERS

DIALECT = "https://json-schema.org/draft/2020-12/schema"
LABEL = r"^[a-z0-9](?:[-a-z0-9]{0,61}[a-z0-9])?$"
AGENT_NAME = r"^[A-Za-z0-9][A-Za-z0-9_-]{0,62}$"
AGENT_TYPE = r"^[a-z0-9](?:[-_a-z0-9]{0,61}[a-z0-9])?$"
NODE_NAME = r"^[a-z0-9](?:[a-z0-9.-]{0,61}[a-z0-9])?$"
TAG = r"^[A-Za-z0-9](?:[-A-Za-z0-9_./:]{0,126}[A-Za-z0-9])?$"
VARIABLE = r"^[A-Za-z_][A-Za-z0-9_]*$"
QUANTITY = r"^(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[numkMGTPE]|[KMGTPE]i|[eE][+-]?[0-9]{1,2})?$"
SHARE = r"^[0-9]+(?:\.[0-9]+)?%$"
DURABILITY = rf"^(?:auto|lazy|local|replicated\(0*[1-{COPIES_MAX}]\))$"


def _text(description: str, *, pattern: str = "", chars_max: int = 256, **more: object) -> JsonObject:
    limits: JsonObject = {"pattern": pattern} if pattern else {"minLength": 1, "maxLength": chars_max}
    return {"type": "string", "description": description, **limits, **more}


def _passed(description: str, **more: object) -> JsonObject:
    """Text that a program is given: may be empty and of any length that its place allows."""
    return {"type": "string", "description": description, **more}


def _choice(description: str, choices: tuple[str, ...], **more: object) -> JsonObject:
    return {"type": "string", "description": description, "enum": list(choices), **more}


def _count(description: str, most: int = REPLICAS_MAX, **more: object) -> JsonObject:
    return {"type": "integer", "description": description, "minimum": 0, "maximum": most, **more}


def _flag(description: str, **more: object) -> JsonObject:
    return {"type": "boolean", "description": description, **more}


def _quantity(description: str, *examples: str) -> JsonObject:
    number: JsonObject = {"type": ["string", "number"], "pattern": QUANTITY, "minimum": 0, "examples": list(examples)}
    return {"description": description, **number}


def _share(description: str, example: str) -> JsonObject:
    number: JsonObject = {"type": ["string", "number"], "pattern": SHARE, "exclusiveMinimum": 0, "maximum": 1}
    return {"description": description, **number, "examples": [example]}


def _list(description: str, of: JsonObject, *, most: int = 1024, **more: object) -> JsonObject:
    return {"type": "array", "description": description, "items": of, "maxItems": most, **more}


def _map(description: str, of: JsonObject, *, keys: str = "", most: int = 1024, **more: object) -> JsonObject:
    """Keys that people choose."""
    names: JsonObject = {"propertyNames": {"pattern": keys}} if keys else {}
    return {
        "type": "object", "description": description, "additionalProperties": of, "maxProperties": most,
        **names, **more,
    }  # fmt: skip


def _fields(description: str, required: tuple[str, ...], fields: JsonObject, **more: object) -> JsonObject:
    """These keys and no others."""
    return {
        "type": "object", "description": description, "properties": fields, "required": list(required),
        "additionalProperties": False, **more,
    }  # fmt: skip


def _kind(kind: str, description: str, name: JsonObject, spec: JsonObject, *, namespaced: bool = False) -> JsonObject:
    namespace = (
        _text("Where the name is unique.", pattern=LABEL, default="default")
        if namespaced
        else _choice(f"Leave it out: the name of {_article(kind)} is unique in its mesh.", ("default",))
    )
    labels = _map("For whoever searches; nothing is placed by them.", _text("A value."), keys=TAG, most=64)
    metadata: JsonObject = {"name": name, "namespace": namespace, "labels": labels}
    fields: JsonObject = {
        "apiVersion": _choice("The version of this shape.", API_VERSIONS),
        "kind": {"const": kind, "type": "string", "description": f"Always {kind}."},
        "metadata": _fields("What it is called.", ("name",), metadata),
        "spec": spec,
    }
    return {
        "$schema": DIALECT,
        "title": kind,
        **_fields(description, ("apiVersion", "kind", "metadata", "spec"), fields),
    }


def _article(kind: str) -> str:
    return f"an {kind}" if kind[0] in "AEIOU" else f"a {kind}"


_TIER = _choice(
    "process: one process a slot. actor: up to 1,000 slots share one, and its failure.", TIERS, default="process"
)
_REGION = _text("Only nodes of this region.", pattern=LABEL, examples=["eu"])
_GENERATION = _count("Raised by meshnode restart: every unit then starts anew, in turn.", GENERATION_MAX, default=0)
_DURABILITY = _text(
    "How safe a change is before the reply leaves: auto (on one other node while one is reachable, else local), lazy, "
    f"local, or replicated(K) with K up to {COPIES_MAX}: then never less, even alone.",
    pattern=DURABILITY, default="auto", examples=["auto", "replicated(2)"],
)  # fmt: skip
_NODE_LABELS = _map(
    "What a node must have: its own labels and attributes.", _text("The value it must be."), keys=TAG, most=64,
    examples=[{"site": "plant-7"}],
)  # fmt: skip
_RESOURCES = _fields(
    "What one instance asks of a node. A node that cannot give it is not chosen.", (),
    {
        "cpu": _quantity("Processors; m are thousandths.", "500m", "2"),
        "memory": _quantity("Bytes; Mi and Gi count in 1024s.", "256Mi", "4Gi"),
        "gpu": _quantity("Accelerators; m are thousandths.", "1"),
    },
)  # fmt: skip
_RUN = _fields(
    "How it is run: a Python file that uses meshnode.sdk, or any command. One of the two.", (),
    {
        "file": _passed(
            "A Python file that uses meshnode.sdk, from the manifest's own folder on. It travels to every node that "
            "runs it.", minLength=1, examples=["../words.py"],
        ),
        "bundle": _text(
            "SHA-256 of the file's content; filled in by meshnode run and apply.", pattern="^[0-9a-f]{64}$"
        ),
        "argv": _list("Arguments of the file.", _passed("One word."), most=256),
        "command": _list(
            "A whole command line instead of a file: the program first.", _passed("One word."), most=256, minItems=1,
            examples=[["/usr/bin/python3", "agent.py"]],
        ),
        "cwd": _passed("The folder it works in, from / on; the file's own where that is missing.", pattern="^/"),
        "env": _map(
            "Added to an otherwise clean environment.", _passed("The value."), keys=VARIABLE, most=256,
            examples=[{"LANG": "C.UTF-8"}],
        ),
    },
    oneOf=[{"required": ["file"]}, {"required": ["command"]}],
)  # fmt: skip
_DISCONNECT = _fields(
    "What counts as lost.", (),
    {
        "lost_after": _text(
            "So long its node must be silent before others may take over: 200ms to 24h.",
            pattern="^[0-9]{1,9}(?:ms|s|m|h)$", examples=["2s"],
        )
    },
)  # fmt: skip

AGENT = _kind(
    "Agent",
    "One agent that is wanted: how to run it, how often, where, and how safe its state is. meshnode run writes one.",
    _text("Also the first half of its skills' names.", pattern=AGENT_NAME, examples=["words"]),
    _fields(
        "What is wanted.", ("run",),
        {
            "run": _RUN,
            "tier": _TIER,
            "replicas": _count("How many of it.", default=1),
            "on": _text("Only this node, by its name.", examples=["alpha"]),
            "near": _text("Nodes near this one come first; meshnode run says where it was typed.", examples=["alpha"]),
            "region": _REGION,
            "labels": _NODE_LABELS,
            "resources": _RESOURCES,
            "durability": _DURABILITY,
            "disconnect": _DISCONNECT,
            "generation": _GENERATION,
        },
    ),
)  # fmt: skip
_LEVEL = _fields(
    "One level of control.", ("name", "scope"),
    {
        "name": _text("What it is called.", chars_max=63),
        "scope": _choice("How far it reaches.", ("global", "node", "agent-group")),
        "responsibilities": _list("What it is for.", _text("One duty."), most=128),
    },
)  # fmt: skip
_ORCHESTRATOR = _fields(
    "Levels of control, as described: recorded and shown. Every node decides for itself.", ("type",),
    {
        "type": _choice("How the levels stand to each other.", ("hierarchical",)),
        "levels": _list("From the top down.", _LEVEL, most=32),
    },
)  # fmt: skip
_MEMBER = _fields(
    "One agent of the cluster.", ("name", "replicas"),
    {
        "name": _text("Without a run of its own: the Agent document of this name says how.", pattern=AGENT_TYPE),
        "replicas": _count("How many of it."),
        "run": _RUN,
        "tier": {**_TIER, "description": f"{_TIER['description']} Only beside run."},
        "region": _REGION,
        "labels": _NODE_LABELS,
        "resources": _RESOURCES,
        "durability": _DURABILITY,
        "capabilities": _list("Tags it is found and called by: cap/TAG.", _text("A tag.", pattern=TAG), most=128),
    },
)  # fmt: skip
_AREA = _fields(
    "One region.", ("name",),
    {
        "name": _text("The region.", pattern=LABEL, examples=["eu"]),
        "agent_distribution": _map("How many of which agent run there.", _count("How many."), keys=AGENT_TYPE),
    },
)  # fmt: skip
_SCALING = _fields(
    "Bounds and thresholds: checked and kept, not acted on yet.", (),
    {
        "enabled": _flag("Whether replicas must lie within the bounds.", default=False),
        "min_replicas": _count("The least."),
        "max_replicas": _count("The most."),
        "target_utilization": _share("The load to aim at.", "70%"),
        "scale_up_threshold": _share("More are wanted above it.", "85%"),
        "scale_down_threshold": _share("Fewer are wanted below it.", "30%"),
    },
)  # fmt: skip
_BY_AGENT, _BY_REGION = ("agents", "orchestrator"), ("replicas", "regions", "auto_scaling", "resource_management")


def _none_of(keys: tuple[str, ...]) -> JsonObject:
    return {"not": {"anyOf": [{"required": [key]} for key in keys]}}


AGENTCLUSTER = _kind(
    "AgentCluster",
    "A wanted set of agents: listed one by one (agents), or a total distributed over regions (replicas, regions).",
    _text("What it is called.", pattern=LABEL, examples=["word-team"]),
    _fields(
        "What is wanted, in one of two shapes: agents and orchestrator, or replicas, regions, auto_scaling and "
        "resource_management.", (),
        {
            "agents": _list("Listed one by one: how many of each, what it asks for, what it can do.", _MEMBER),
            "orchestrator": _ORCHESTRATOR,
            "replicas": _count("The total. What the regions leave over may run anywhere."),
            "regions": _list("How the total is distributed.", _AREA),
            "auto_scaling": _SCALING,
            "resource_management": _map("What one instance asks for, by agent.", _RESOURCES, keys=AGENT_TYPE),
            "generation": _GENERATION,
        },
        oneOf=[
            {"required": ["agents"], **_none_of(_BY_REGION)},
            {"anyOf": [{"required": [key]} for key in _BY_REGION], **_none_of(_BY_AGENT)},
        ],
    ),
    namespaced=True,
)  # fmt: skip
_INTEREST = _fields(
    "Which documents it is sent and keeps up to date, beside those of kind Node and Policy; left out: all.", (),
    {
        "kinds": _list("Only these kinds.", _choice("A kind.", OPTIONAL), most=len(OPTIONAL), uniqueItems=True),
        "regions": _list(
            "Only of these regions (the label region, or region in the spec), and those of none.",
            _text("A region.", pattern=LABEL, examples=["west"]), most=REGIONS_MAX, uniqueItems=True,
        ),
    },
)  # fmt: skip
NODE = _kind(
    "Node",
    "What people want of one node. meshnode drain and resume write it.",
    _text("The node's own name.", pattern=NODE_NAME, examples=["alpha"]),
    _fields(
        "What is wanted.", ("drain",),
        {
            "drain": _flag("Its units move to other nodes, and it takes no new ones."),
            "reason": _text("For people.", examples=["new disk"]),
            "interest": _INTEREST,
        },
    ),
)  # fmt: skip
AGENT["examples"] = [
    {
        "apiVersion": "v1", "kind": "Agent", "metadata": {"name": "words"},
        "spec": {"run": {"file": "/srv/agents/words.py"}, "replicas": 2, "resources": {"memory": "64Mi"}},
    }
]  # fmt: skip
AGENTCLUSTER["examples"] = [
    {
        "apiVersion": "v1", "kind": "AgentCluster", "metadata": {"name": "word-team"},
        "spec": {"agents": [{"name": "words", "replicas": 2, "capabilities": ["text"]}]},
    },
    {
        "apiVersion": "v1", "kind": "AgentCluster", "metadata": {"name": "two-regions"},
        "spec": {"replicas": 10, "regions": [{"name": "eu", "agent_distribution": {"words": 4}}]},
    },
]  # fmt: skip
NODE["examples"] = [
    {
        "apiVersion": "v1", "kind": "Node", "metadata": {"name": "alpha"},
        "spec": {"drain": True, "reason": "new disk"},
    }
]  # fmt: skip
POLICY = _kind(
    "Policy",
    "What is left to one member of the roles it joined with. Only admins write it; of two written at once both hold.",
    _text("The member's name.", pattern=NODE_NAME, examples=["alpha"]),
    _fields(
        "One list, changed as a whole.", ("roles",),
        {
            "roles": _list(
                "The roles that are left. What it wrote before stays; none: it may do nothing any more.",
                _choice("A role of its member record.", ROLES), most=len(ROLES), uniqueItems=True,
            ),
            "banned": _flag("It has no role left, and nobody keeps a link to it until this is gone.", default=False),
        },
    ),
)  # fmt: skip
POLICY["examples"] = [
    {
        "apiVersion": "v1", "kind": "Policy", "metadata": {"name": "alpha"},
        "spec": {"roles": ["member"]},
    }
]  # fmt: skip
# Names of what is counted of one, beside what is declared: meshnode state count.
AGENT["counters"] = AGENTCLUSTER["counters"] = LABEL
SCHEMAS: dict[str, JsonObject] = {"Agent": AGENT, "AgentCluster": AGENTCLUSTER, "Node": NODE, "Policy": POLICY}
