"""Facts of the node itself."""

from meshnode.kernel.effects import Fact


class Started(Fact, frozen=True):
    """This boot is durable: the rooms may speak."""
