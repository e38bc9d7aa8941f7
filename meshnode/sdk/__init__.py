"""Make an agent of typed functions: ``from meshnode.sdk import Agent``.

    agent = Agent("words")

    @agent.skill
    def count(text: str) -> dict[str, int]:
        "Count the words of a text."
        ...

    if __name__ == "__main__":
        agent.run()

Run it with ``meshnode run FILE``; call it from any node with ``meshnode call words.count text=...``.
"""

from meshnode.sdk.agent import Agent
from meshnode.sdk.errors import CallFailed, Cancelled, DeadlinePassed, SkillError, Unavailable

__all__ = ["Agent", "CallFailed", "Cancelled", "DeadlinePassed", "SkillError", "Unavailable"]
