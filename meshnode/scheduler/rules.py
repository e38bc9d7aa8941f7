"""The decision between two claims, on its own, so that a planted fault can show what would happen without it."""

from meshnode.kernel.epochs import Epoch
from meshnode.scheduler.messages import Claim


class SchedulerRules:
    """Of two claims of one unit the higher epoch goes on, whoever came first."""

    def yields(self, mine: Epoch, theirs: Claim) -> bool:
        """Whether a claim of this node steps down before theirs, as soon as theirs runs and can be reached."""
        return mine < theirs.epoch
