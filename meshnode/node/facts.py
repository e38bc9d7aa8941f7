"""Facts of the node itself."""

from meshnode.kernel.effects import Fact


class Started(Fact, frozen=True):
    """This boot is durable: the rooms may speak."""


class WishesUnkept(Fact, frozen=True):
    """Documents read otherwise and the disk has not taken it: what they want is done all the same."""
