"""Questions that may never be answered: a driver of a sick device can block a call for ever.

They are asked in daemon threads, which neither hold up the asker nor the end of the process. A question answers for
itself (``None`` and the like); one that raises is a mistake of ours, and Python prints it.
"""

import queue
import threading
from collections.abc import Callable
from typing import Generic, TypeVar

Answer = TypeVar("Answer")


def within(limit_s: float, question: Callable[[], Answer], name: str) -> Answer | None:
    """The answer, or ``None`` when there is none after ``limit_s``; the thread is then left to its fate."""
    answers: list[Answer] = []
    thread = threading.Thread(target=lambda: answers.append(question()), name=name, daemon=True)
    thread.start()
    thread.join(limit_s)
    return answers[0] if answers else None


class Aside(Generic[Answer]):
    """One question asked again and again in one thread; the asker takes what the last answer was and goes on.

    At most one asking is under way: behind a question that hangs, nothing piles up, and the answer grows too old.
    """

    def __init__(self, question: Callable[[], Answer], name: str) -> None:
        self._question, self._name = question, name
        self._turns: queue.SimpleQueue[float] = queue.SimpleQueue()
        self._thread: threading.Thread | None = None
        self._asked = 0
        self._answered = 0
        self._answer: tuple[float, Answer] | None = None

    def latest(self, now_s: float, age_s_max: float) -> Answer | None:
        """The last answer, if asked for at most ``age_s_max`` ago; asks anew for the next time."""
        if self._asked == self._answered:
            self._asked += 1
            self._begin()
            self._turns.put(now_s)
        answer = self._answer
        return answer[1] if answer is not None and now_s - answer[0] <= age_s_max else None

    def _begin(self) -> None:
        if self._thread is None:
            self._thread = threading.Thread(target=self._run, name=self._name, daemon=True)
            self._thread.start()

    def _run(self) -> None:
        while True:
            asked_s = self._turns.get()
            self._answer = (asked_s, self._question())
            self._answered += 1
