"""Policies: documents of admins that take roles from members, handed on to who answers what a member may.

A policy is one field, so a whole value: two that admins wrote at once stay both, as siblings, and both hold. Whoever
has the same documents gives the same verdicts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from meshnode.model.manifest import NAMESPACE_DEFAULT
from meshnode.model.policy import BANNED, FIELD, KIND, bans, roles_of
from meshnode.security.roles import Left

if TYPE_CHECKING:
    from meshnode.crdt.messages import DocumentChanged
    from meshnode.crdt.replica import Documents
    from meshnode.security.members import Members
    from meshnode.security.roles import Roles

_STORED, _STORED_BAN = f"spec.{FIELD}", f"spec.{BANNED}"


class Policies:
    """Reads what is there, and then every change."""

    def __init__(self, documents: Documents, roles: Roles, members: Members) -> None:
        self._documents, self._roles, self._members = documents, roles, members
        documents.heed(roles.until)
        for document in documents.list(KIND):
            self._read(document.name)

    def changed(self, fact: DocumentChanged) -> None:
        if fact.kind == KIND:
            self._read(fact.name)
            member = self._members.by_name(fact.name)
            if member is not None:
                self._documents.empowered(member.node)

    def _read(self, name: str) -> None:
        versions = self._documents.versions(KIND, NAMESPACE_DEFAULT, name, _STORED)
        said = self._documents.versions(KIND, NAMESPACE_DEFAULT, name, _STORED_BAN)
        banned = [Left((), hlc, banned=True) for value, hlc in said if bans(value)]
        self._roles.limit(name, [*(Left(roles_of(value), hlc) for value, hlc in versions), *banned])
