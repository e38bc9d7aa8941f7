"""Policy: what is left to one member of the roles that its member record gives it, as a document of its name.

One list, written and read as a whole by admins alone. Two that were written at once both hold, and what either of them
denies is denied, until an admin has chosen (``meshnode conflicts``).
"""

import msgspec

from meshnode.model.commands import JsonObject
from meshnode.model.fields import Field, FieldInvalid, refuse_repeats
from meshnode.model.manifest import NAMESPACE_DEFAULT, parse_unscoped

KIND = "Policy"
ROLES = ("admin", "gateway", "member")
FIELD = "roles"


class PolicyWish(msgspec.Struct, frozen=True):
    """A checked manifest. ``roles``: those that are left; none: it may do nothing."""

    api_version: str
    name: str
    labels: dict[str, str]
    spec: JsonObject
    roles: tuple[str, ...]
    namespace: str = NAMESPACE_DEFAULT
    notes: tuple[str, ...] = ()

    @property
    def kind(self) -> str:
        return KIND


def parse_policy(manifest: JsonObject) -> PolicyWish:
    """Raises ``FieldInvalid``."""
    envelope = parse_unscoped(manifest, KIND, "a node's")
    items = envelope.spec.fields((FIELD,))[FIELD].items(count_max=len(ROLES))
    roles = tuple(item.choice(ROLES) for item in items)
    refuse_repeats(items, roles)
    return PolicyWish(envelope.api_version, envelope.name, envelope.labels, manifest["spec"], roles)


def roles_of(value: object) -> tuple[str, ...]:
    """Of a stored value. One that nobody could have applied allows nothing."""
    try:
        return tuple(item.choice(ROLES) for item in Field((FIELD,), value).items(count_max=len(ROLES)))
    except FieldInvalid:
        return ()
