"""Agent: one agent that is wanted, as a document: how to run it, how often, where, and how safe its state is."""

import re

import msgspec

from meshnode.model.commands import JsonObject, RunAgent
from meshnode.model.durability import AUTO, Durability, parse_durability
from meshnode.model.errors import Invalid
from meshnode.model.fields import Field, FieldInvalid
from meshnode.model.manifest import API_VERSIONS, NAMESPACE_DEFAULT, parse_unscoped
from meshnode.model.recipe import PROCESS, TIERS, Recipe
from meshnode.model.resources import Resources, optional, resources_of

KIND = "Agent"
REPLICAS_MAX = 1_000_000
RECIPE_BYTES_MAX = 16 * 1024
GENERATION_MAX = 2**53
LOST_AFTER_MS_MIN, LOST_AFTER_MS_MAX = 200, 24 * 3600 * 1000
_WORDS_MAX = 256
_RESERVED = "MESHNODE_"
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*", re.ASCII)
_BUNDLE = re.compile(r"[0-9a-f]{64}", re.ASCII)
_DURATION = re.compile(r"(?P<number>[0-9]{1,9})(?P<unit>ms|s|m|h)", re.ASCII)
_UNIT_MS = {"ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
_OPTIONS = (
    "tier", "replicas", "on", "near", "region", "labels", "resources", "durability", "disconnect", "generation",
)  # fmt: skip


class AgentIntent(msgspec.Struct, frozen=True):
    """What an Agent's spec means. ``lost_after_ms`` 0: as usual. ``generation``: raised to restart all its units."""

    recipe: Recipe
    replicas: int = 1
    on: str = ""
    near: str = ""
    region: str = ""
    labels: dict[str, str] = {}
    resources: Resources = Resources()
    durability: Durability = AUTO
    lost_after_ms: int = 0
    generation: int = 0


class Agent(msgspec.Struct, frozen=True):
    """A checked manifest. ``spec``: as written; ``intent``: what it means."""

    api_version: str
    name: str
    labels: dict[str, str]
    spec: JsonObject
    intent: AgentIntent
    namespace: str = NAMESPACE_DEFAULT
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return KIND


def parse_agent(manifest: JsonObject) -> Agent:
    """Raises ``FieldInvalid``, which knows the path of the field; nothing is ever corrected silently."""
    envelope = parse_unscoped(manifest, KIND, "an agent's")
    intent = _intent(envelope.spec)
    notes = () if intent.replicas else ("replicas is 0: nothing runs until it is scaled",)
    return Agent(envelope.api_version, envelope.name, envelope.labels, manifest["spec"], intent, notes=notes)


def parse_agent_spec(spec: JsonObject) -> AgentIntent:
    """The meaning of a stored spec. Raises ``FieldInvalid``: peers and concurrent edits can make one that has none."""
    return _intent(Field(("spec",), spec))


def agent_manifest(command: RunAgent, bundle: str = "", near: str = "") -> JsonObject:
    """The document that ``meshnode run`` writes, to be checked by ``parse_agent``. What is not said is left out.

    ``bundle``: SHA-256 of the file's content; ``near``: the node it was run on.
    """
    run: JsonObject = {"file": command.file} if command.file else {"command": list(command.argv)}
    if command.file and command.argv:
        run["argv"] = list(command.argv)
    if command.file and bundle:
        run["bundle"] = bundle
    run["cwd"] = command.cwd
    if command.environment:
        run["env"] = dict(sorted(command.environment.items()))
    spec: JsonObject = {"run": run, "replicas": command.replicas}
    said = {
        "tier": "" if command.tier == PROCESS else command.tier, "on": command.on, "near": near,
        "region": command.region, "labels": dict(sorted(command.labels.items())), "durability": command.durability,
    }  # fmt: skip
    spec.update({key: value for key, value in said.items() if value})
    return {"apiVersion": API_VERSIONS[0], "kind": KIND, "metadata": {"name": command.name}, "spec": spec}


def _intent(spec: Field) -> AgentIntent:
    entry = spec.fields(("run",), _OPTIONS)
    return AgentIntent(
        recipe=recipe_of(entry["run"], entry.get("tier")),
        replicas=entry["replicas"].number(most=REPLICAS_MAX) if "replicas" in entry else 1,
        on=optional(entry, "on", Field.text) or "",
        near=optional(entry, "near", Field.text) or "",
        region=optional(entry, "region", Field.label) or "",
        labels=labels_of(entry.get("labels")),
        resources=resources_of(entry.get("resources")),
        durability=durability_of(entry["durability"]) if "durability" in entry else AUTO,
        lost_after_ms=_lost_after_ms(entry.get("disconnect")),
        generation=entry["generation"].number(most=GENERATION_MAX) if "generation" in entry else 0,
    )


def recipe_of(run: Field, tier: Field | None = None) -> Recipe:
    """Reads ``run: {file, bundle, argv, cwd, env}`` or ``run: {command, cwd, env}``. Raises ``FieldInvalid``."""
    entry = run.fields((), ("file", "bundle", "argv", "command", "cwd", "env"))
    if ("file" in entry) == ("command" in entry):
        what = "has both file and command" if "file" in entry else "has neither file nor command"
        raise run.invalid(what, next_step="give a Python file that uses the SDK, or a whole command line")
    for key in ("bundle", "argv"):
        if "command" in entry and key in entry:
            raise entry[key].invalid("belongs to a file", next_step="put all words into command")
    recipe = Recipe(
        argv=_words(entry["command"], least=1) if "command" in entry else _words(entry.get("argv"), least=0),
        cwd=_absolute(entry["cwd"]) if "cwd" in entry else "/",
        environment=_environment(entry.get("env")),
        file=_absolute(entry["file"]) if "file" in entry else "",
        bundle=_bundle(entry["bundle"]) if "bundle" in entry else "",
        tier=tier.choice(TIERS) if tier else PROCESS,
    )
    if len(msgspec.msgpack.encode(recipe)) > RECIPE_BYTES_MAX:
        raise run.invalid(f"is longer than {RECIPE_BYTES_MAX} bytes", next_step="put what is long into a file")
    return recipe


def labels_of(field: Field | None) -> dict[str, str]:
    entries = field.entries(count_max=64) if field else {}
    return {Field(value.path, key).tag(): value.text() for key, value in sorted(entries.items())}


def durability_of(field: Field) -> Durability:
    try:
        return parse_durability(field.text())
    except FieldInvalid:
        raise
    except Invalid as error:
        raise FieldInvalid(field.path, error.message, next_step=error.next_step) from error


def _lost_after_ms(disconnect: Field | None) -> int:
    if disconnect is None:
        return 0
    entry = disconnect.fields((), ("lost_after",))
    if "lost_after" not in entry:
        return 0
    field = entry["lost_after"]
    found = _DURATION.fullmatch(field.text())
    if found is None:
        raise field.invalid("is no span of time", next_step='write a whole number with ms, s, m or h, like "2s"')
    span_ms = int(found["number"]) * _UNIT_MS[found["unit"]]
    if not LOST_AFTER_MS_MIN <= span_ms <= LOST_AFTER_MS_MAX:
        raise field.invalid("is out of range", next_step=f'write "{LOST_AFTER_MS_MIN}ms" to "24h"')
    return span_ms


def _words(field: Field | None, *, least: int) -> tuple[str, ...]:
    listed = field.items(count_max=_WORDS_MAX) if field else []
    if field and len(listed) < least:
        raise field.invalid("is empty: there is no program to run", next_step="write its words, one - line each")
    words = tuple(_passed(each) for each in listed)
    if least and not words[0]:
        raise listed[0].invalid("is empty: there is no program to run", next_step="write a program's name")
    return words


def _passed(field: Field) -> str:
    """Text that a program can be given: also empty, also with line ends, never with a zero byte."""
    value = field.value
    if not isinstance(value, str):
        return field.text()  # refuses, and says what it is
    if "\0" in value or not _encodable(value):
        raise field.invalid("cannot be passed to a program", next_step="remove zero bytes and lone surrogates")
    return value


def _encodable(text: str) -> bool:
    return not any("\ud800" <= letter <= "\udfff" for letter in text)


def _absolute(field: Field) -> str:
    path = _passed(field)
    if not path.startswith("/"):
        raise field.invalid("is not absolute", next_step="give the path from / on")
    return path


def _environment(field: Field | None) -> dict[str, str]:
    entries = field.entries(count_max=_WORDS_MAX) if field else {}
    for key, value in entries.items():
        if not _VARIABLE.fullmatch(key):
            raise value.invalid("is no name of a variable", next_step="use letters, digits and _")
        if key.startswith(_RESERVED):
            raise value.invalid("is set by the daemon", next_step=f"do not use {_RESERVED}*")
    return {key: _passed(value) for key, value in sorted(entries.items())}


def _bundle(field: Field) -> str:
    text = field.text()
    if not _BUNDLE.fullmatch(text):
        raise field.invalid("is no SHA-256", next_step="leave it out: meshnode run fills it in")
    return text
