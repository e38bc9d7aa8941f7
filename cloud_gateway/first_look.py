"""What the node says at the start: who it is, and whether it may do what a gateway does."""

from pathlib import Path

import msgspec

from meshnode.client.client import Client
from meshnode.model.errors import Denied, LocalError

LOOK_S = 3.0  # a node that is down or busy must not hold up the start
ROLES = ("gateway", "admin")


class Known(msgspec.Struct, frozen=True):
    """``problem``: why the node does not answer; then nothing else is known."""

    node: str = ""
    mesh: str = ""
    roles: tuple[str, ...] = ()
    problem: str = ""

    @property
    def may_read_all(self) -> bool:
        """A node that did not answer is judged by what it refuses later."""
        return bool(self.problem) or any(role in self.roles for role in ROLES)


def look(directory: Path) -> Known:
    try:
        identity = Client(str(directory), timeout_s=LOOK_S).identity()
    except LocalError as error:
        return Known(problem=error.message)
    return Known(identity.name, identity.mesh, tuple(identity.roles))


def check_roles(known: Known) -> None:
    """Raises ``Denied``."""
    if not known.may_read_all:
        raise Denied(
            f"{known.node} has the role {', '.join(known.roles) or 'none'}, and a gateway reads the journals of all "
            "nodes: that takes the role gateway or admin",
            next_step="on an admin's node: meshnode invite --role gateway; join with the token in a directory of its "
            "own, and start the gateway there. The page of this node alone: meshnode ui",
        )
