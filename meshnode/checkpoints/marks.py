"""Epochs as they stand in dots: the claim's counter, then the boot of the node that writes.

A claim may be lost with the disk it was written on, and be made again after a reboot; a boot is counted before anything
is said. So no dot is ever used twice, whatever a disk forgets. The order is that of the claims.
"""

from meshnode.kernel.epochs import Epoch

BOOT_BITS = 24
_BOOTS = (1 << BOOT_BITS) - 1


def mark(counter: int, boot: int, claim: Epoch) -> Epoch:
    """What the claimant writes under."""
    return Epoch(counter << BOOT_BITS | boot & _BOOTS, claim.node)


def counter_of(epoch: Epoch) -> int:
    """The counter of the claim."""
    return epoch.counter >> BOOT_BITS


def claim_of(epoch: Epoch) -> Epoch:
    return Epoch(counter_of(epoch), epoch.node)
