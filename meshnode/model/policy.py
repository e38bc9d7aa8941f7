"""Policy: what is left to one member of the roles that its member record gives it, as a document of its name.

One list, written and read as a whole by admins alone. Two that were written at once both hold, and what either of them
denies is denied, until an admin has chosen (``meshnode conflicts``). A member may also be banned: it has no role left,
and nobody keeps a link to it.
"""

import msgspec

from meshnode.model.commands import JsonObject
from meshnode.model.fields import Field, FieldInvalid, refuse_repeats
from meshnode.model.manifest import NAMESPACE_DEFAULT, parse_unscoped

KIND = "Policy"
ROLES = ("admin", "gateway", "member")
FIELD = "roles"
BANNED = "banned"


class PolicyWish(msgspec.Struct, frozen=True):
    """A checked manifest. ``roles``: those that are left; none: it may do nothing. ``banned``: nobody keeps a link."""

    api_version: str
    name: str
    labels: dict[str, str]
    spec: JsonObject
    roles: tuple[str, ...]
    namespace: str = NAMESPACE_DEFAULT
    notes: tuple[str, ...] = ()
    banned: bool = False

    @property
    def kind(self) -> str:
        return KIND


def parse_policy(manifest: JsonObject) -> PolicyWish:
    """Raises ``FieldInvalid``."""
    envelope = parse_unscoped(manifest, KIND, "a node's")
    entry = envelope.spec.fields((FIELD,), (BANNED,))
    items = entry[FIELD].items(count_max=len(ROLES))
    roles = tuple(item.choice(ROLES) for item in items)
    refuse_repeats(items, roles)
    banned = BANNED in entry and entry[BANNED].flag()
    spec = manifest["spec"]
    return PolicyWish(envelope.api_version, envelope.name, envelope.labels, spec, roles, banned=banned)


def roles_of(value: object) -> tuple[str, ...]:
    """Of a stored value. One that nobody could have applied allows nothing."""
    try:
        return tuple(item.choice(ROLES) for item in Field((FIELD,), value).items(count_max=len(ROLES)))
    except FieldInvalid:
        return ()


def bans(value: object) -> bool:
    """Of a stored value: whatever does not say that it bans nobody bans."""
    return value not in (None, False)
