"""Word statistics as an agent: the smallest useful example.

    meshnode run examples/words.py
    meshnode call words.count text="to be or not to be"
    meshnode call words.feed name=hamlet text="to be or not to be"
    meshnode call words.known
    meshnode call words.corpus

``words.feed`` remembers what it was fed, in the agent's state: that survives the process and the machine.
``words.corpus`` speaks about a folder of text, read when the agent starts: WORDS_CORPUS, or the documents of this
repository.
"""

import functools
import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TypedDict

from meshnode.sdk import Agent, Ctx, SkillError

agent = Agent("words")

WORD = re.compile(r"[^\W\d_]+(?:['\u2019][^\W\d_]+)*")
SUFFIXES = (".md", ".txt", ".rst")
FILES_MAX = 2000
WORDS_KEPT = 500  # of each text that is remembered
FILE_BYTES_MAX = 4 * 1024 * 1024


class Frequency(TypedDict):
    """A word and how often it was seen."""

    word: str
    times: int


class Count(TypedDict):
    """How many words a text has, how many different ones, and the most frequent."""

    words: int
    unique: int
    top: list[Frequency]


class Fed(TypedDict):
    """All that was fed so far: how many texts and words, and the most frequent words of all."""

    texts: int
    words: int
    top: list[Frequency]


class Corpus(TypedDict):
    """The same for a folder of texts, read when the agent started."""

    folder: str
    files: int
    words: int
    unique: int
    longest: str
    top: list[Frequency]


def tally(text: str) -> Counter[str]:
    """Words in small letters and how often each is there."""
    return Counter(word.lower() for word in WORD.findall(text))


def most_frequent(counts: Counter[str], n: int) -> list[Frequency]:
    """The ``n`` most frequent words; equal ones in alphabetical order."""
    ranked = sorted(counts.items(), key=lambda row: (-row[1], row[0]))
    return [Frequency(word=word, times=times) for word, times in ranked[:n]]


@agent.skill
def count(text: str) -> Count:
    """Count the words of a text.

    Args:
        text: any text, in any language that puts spaces between words.
    """
    counts = tally(text)
    return Count(words=counts.total(), unique=len(counts), top=most_frequent(counts, 5))


@agent.skill
def top(text: str, n: int = 10) -> list[Frequency]:
    """List the most frequent words of a text, the most frequent first.

    Args:
        text: any text.
        n: how many words to list, 1 to 1000.
    """
    if not 1 <= n <= 1000:
        raise SkillError("out-of-range", f"n is {n}; it may be 1 to 1000")
    return most_frequent(tally(text), n)


@agent.skill
def feed(ctx: Ctx, name: str, text: str) -> Count:
    """Count the words of a text and remember them. A text of the same name again replaces the former one.

    Args:
        name: what the text is called.
        text: any text.
    """
    counts = tally(text)
    before = ctx.state.get(f"size {name}")
    ctx.state[f"text {name}"] = dict(counts.most_common(WORDS_KEPT))
    ctx.state[f"size {name}"] = counts.total()
    ctx.state.counter("words").add(counts.total() - (before or 0))
    ctx.state.counter("texts").add(1 if before is None else 0)
    return Count(words=counts.total(), unique=len(counts), top=most_frequent(counts, 5))


@agent.skill
def known(ctx: Ctx) -> Fed:
    """Tell what was fed so far."""
    counts: Counter[str] = Counter()
    for key in ctx.state:
        if key.startswith("text "):
            counts += Counter(ctx.state[key])
    texts, words = ctx.state.counter("texts").value, ctx.state.counter("words").value
    return Fed(texts=texts, words=words, top=most_frequent(counts, 10))


@agent.skill
def longest(text: str) -> str:
    """Find the longest word of a text; of equals, the first in the alphabet."""
    return max(sorted(tally(text)), key=len, default="")


def texts_of(folder: Path) -> Iterator[Path]:
    """The text files of a folder in a stable order, hidden ones left out."""
    for path in sorted(folder.rglob("*"))[:FILES_MAX]:
        hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.suffix in SUFFIXES and not hidden and path.is_file() and path.stat().st_size <= FILE_BYTES_MAX:
            yield path


def read_corpus(folder: Path) -> Corpus:
    """Count every text of a folder."""
    counts: Counter[str] = Counter()
    files = 0
    for path in texts_of(folder):
        counts += tally(path.read_text(encoding="utf-8", errors="replace"))
        files += 1
    return Corpus(
        folder=str(folder),
        files=files,
        words=counts.total(),
        unique=len(counts),
        longest=max(sorted(counts), key=len, default=""),
        top=most_frequent(counts, 10),
    )


def corpus_folder() -> Path:
    """WORDS_CORPUS, or the documents of the repository this example lies in."""
    chosen = os.environ.get("WORDS_CORPUS", "")
    return Path(chosen).expanduser() if chosen else Path(__file__).resolve().parent.parent / "docs"


@functools.cache
def read_once() -> Corpus:
    """The folder as it was when first read."""
    return read_corpus(corpus_folder())


@agent.skill
def corpus() -> Corpus:
    """Tell the word statistics of the folder this agent read when it started."""
    return read_once()


if __name__ == "__main__":
    read_once()
    agent.run()
