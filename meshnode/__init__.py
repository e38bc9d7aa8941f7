"""meshnode: the operating layer for fleets of AI agents that keeps working when it is cut off."""

__version__ = "0.1.0"
