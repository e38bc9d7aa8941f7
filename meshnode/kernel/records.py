"""What the journal holds: small keyed records.

The newest record of a (kind, key) is the truth; an empty body forgets the key. EVENT records are appended in order
and only leave when their byte budget is spent (a GAP record then says how many went).
"""

import enum

import msgspec

ENVELOPE_KEY_BYTES = 48  # document and hash of its last change; roots have the document alone


class RecordKind(enum.IntEnum):
    """Class of a record: it fixes the byte cap and whether the newest of a key wins."""

    BOOT = 1  # key "": boot counter of this node
    CLOCK = 2  # key "": newest wall time this node has proof of
    DIRECTORY = 3  # key NodeId: membership row
    CONTACT = 4  # key "HOST:PORT": an address that worked
    ENVELOPE = 5  # key DocId + change hash: signed change of a document
    INVITE = 6  # key invite id: used
    AGENT = 7  # key agent name: what to run here, also at a cold boot
    EVENT = 8  # key increasing 8-byte number: what happened, for `why`
    GAP = 9  # key first number lost: events dropped to stay in the budget
    CLAIM = 10  # key unit: the epoch counter it has reached, and whether this node runs it
    STATE = 11  # key unit + dot: one change of the state of a unit, own or kept for another node
    CHECKPOINT = 12  # key unit (+ version): the manifest of a folded state


class Record(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """One journal entry. ``body`` empty: the key is forgotten."""

    kind: RecordKind
    key: bytes
    body: bytes

    @property
    def is_named_by_content(self) -> bool:
        """Whether a record of this key always has this body: a signed change, whose key holds its hash."""
        return self.kind is RecordKind.ENVELOPE and len(self.key) == ENVELOPE_KEY_BYTES
