"""Names for why: refusals, disconnects and losses. Counted, shown by ``why``, never free text."""

import enum


class Loss(enum.StrEnum):
    """How a link ended, as its host saw it."""

    CLOSED = "closed"  # we did
    EOF = "eof"  # they closed in order
    RESET = "reset"  # RST: the process is gone or refused us
    SILENT = "silent"  # nothing came for too long
    REPLACED = "replaced"  # a newer link to the same peer took over
    PROTOCOL = "protocol"  # they sent junk


class DialFailure(enum.StrEnum):
    """How an attempt to reach an address ended."""

    REFUSED = "refused"  # ECONNREFUSED or RST before WELCOME: nobody serves there. Strong evidence
    TIMEOUT = "timeout"  # silence. Weak evidence
    UNREACHABLE = "unreachable"  # this machine has no route: says nothing about the peer
    UNTRUSTED = "untrusted"  # somebody answered who is not the one expected, or does not trust us


class Bye(enum.StrEnum):
    """Why a node closes a link, told to the peer in GOAWAY."""

    SHUTDOWN = "shutdown"
    EVICTED = "evicted"  # the overlay needs the slot
    DUPLICATE_LINK = "duplicate-link"
    TWIN = "twin"  # this NodeId is already here with an equal boot: a copied data directory
    SLOW = "slow"
    JUNK = "junk"
    SILENT = "silent"
    WRONG_MESH = "wrong-mesh"
    UNTRUSTED = "untrusted"
    STALE_BOOT = "stale-boot"
    IDLE = "idle"
    VERSION = "version"  # no protocol version in common
    SELF = "self"  # we dialled ourselves
    BANNED = "banned"  # an admin says that nobody is to keep a link to this node
