"""An agent that never gets as far as serving."""

from meshnode.sdk import Agent

agent = Agent("crasher")

raise RuntimeError("broken while it was imported")
