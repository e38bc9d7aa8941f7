"""A quality inspector that classifies real images: handwritten digits, 8 x 8 pixels, as scikit-learn brings them.

    meshnode run examples/inspector.py
    meshnode call inspector.accuracy
    meshnode call inspector.sample number=7
    meshnode call inspector.inspect number=7 line=press-4

It learns from 70 % of the images when it starts and never sees the other 30 %: those are what it inspects. What it
found is counted in its state, for each production line of its own, so that the counts survive the machine.
"""

import functools
from typing import NamedTuple, TypedDict

import numpy as np
from sklearn.datasets import load_digits
from sklearn.model_selection import train_test_split
from sklearn.svm import SVC

from meshnode.sdk import Agent, Ctx, SkillError

agent = Agent("inspector")

PIXELS = 64
CERTAIN = 0.1  # how much clearer than the second the first guess must be


class Verdict(TypedDict):
    """``digit``: what the image shows; ``certain``: clearly so; ``margin``: how much clearer than the second guess."""

    digit: int
    certain: bool
    margin: float


class Sample(TypedDict):
    """One held-out image, 64 grey values from 0 to 16, row by row, and what it really shows."""

    number: int
    image: list[float]
    digit: int


class Accuracy(TypedDict):
    """The share of held-out images that are classified right."""

    accuracy: float
    images: int
    learned_from: int


class Learned(NamedTuple):
    """The classifier and the images it has never seen."""

    model: SVC
    images: np.ndarray
    digits: np.ndarray
    learned_from: int


@functools.cache
def learned() -> Learned:
    """Train once a process; a third of a second."""
    data = load_digits()
    seen, images, answers, digits = train_test_split(
        data.data, data.target, test_size=0.3, random_state=4, stratify=data.target
    )
    return Learned(SVC(gamma=0.001).fit(seen, answers), images, digits, len(seen))


def classify(image: list[float]) -> Verdict:
    """What one image shows."""
    votes = learned().model.decision_function(np.asarray([image]))[0]
    second, first = np.sort(votes)[-2:]
    margin = float(first - second)
    return Verdict(digit=int(np.argmax(votes)), certain=margin >= CERTAIN, margin=round(margin, 3))


def image_of(number: int) -> list[float]:
    """A held-out image by number."""
    images = learned().images
    if not 0 <= number < len(images):
        raise SkillError("no-such-image", f"number is {number}; there are images 0 to {len(images) - 1}")
    return [float(value) for value in images[number]]


@agent.skill(tags=("vision.digits",), idempotent=True)
def classify_image(image: list[float]) -> Verdict:
    """Classify any image of 64 grey values from 0 to 16.

    Args:
        image: 8 rows of 8 values, one after the other.
    """
    if len(image) != PIXELS:
        raise SkillError("not-an-image", f"an image has {PIXELS} values, this one {len(image)}")
    return classify(image)


@agent.skill(tags=("vision.digits",))
def inspect(ctx: Ctx, number: int, line: str = "default") -> Verdict:
    """Inspect one held-out image and count what was found.

    Args:
        number: which image.
        line: the production line it came from; each has counts of its own.
    """
    verdict = classify(image_of(number))
    right = verdict["digit"] == int(learned().digits[number])
    ctx.state.counter("inspected").add(1)
    ctx.state.counter("right" if right else "wrong").add(1)
    ctx.session(line).counter(f"digit {verdict['digit']}").add(1)
    if not verdict["certain"]:
        ctx.state["last doubt"] = {"number": number, **verdict}
    return verdict


@agent.skill
def found(ctx: Ctx, line: str = "") -> dict[str, int]:
    """Tell the counts of all lines together, or of one.

    Args:
        line: its name; empty means all.
    """
    if line:
        return {f"digit {d}": ctx.session(line).counter(f"digit {d}").value for d in range(10)}
    return {name: ctx.state.counter(name).value for name in ("inspected", "right", "wrong")}


@agent.skill(idempotent=True)
def accuracy() -> Accuracy:
    """Measure how many of the held-out images are classified right."""
    known = learned()
    share = float(known.model.score(known.images, known.digits))
    return Accuracy(accuracy=round(share, 4), images=len(known.digits), learned_from=known.learned_from)


@agent.skill(idempotent=True)
def sample(number: int) -> Sample:
    """Show one held-out image and what it really is."""
    return Sample(number=number, image=image_of(number), digit=int(learned().digits[number]))


if __name__ == "__main__":
    learned()
    agent.run()
