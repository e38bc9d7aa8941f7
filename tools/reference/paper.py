"""Markdown, as little of it as the reference needs."""

from collections.abc import Iterable, Sequence

MADE = "*Made by `make reference`; change what it is made from instead.*"


def head(title: str, about: str, made: str = MADE) -> list[str]:
    return [f"# {title}", "", made, "", about, ""]


def table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> list[str]:
    """Nothing when there are no rows."""
    listed = [f"| {' | '.join(_cell(cell) for cell in row)} |" for row in rows]
    return [f"| {' | '.join(titles)} |", "|---" * len(titles) + "|", *listed, ""] if listed else []


def fence(language: str, lines: Iterable[str]) -> list[str]:
    return [f"```{language}", *lines, "```", ""]


def code(text: str) -> str:
    return f"`{text}`"


def sentence(text: str) -> str:
    """With a capital in front and a full stop behind."""
    return f"{text[:1].upper()}{text[1:]}{'' if text.endswith('.') else '.'}" if text else ""


def flowing(text: str) -> str:
    """A docstring without its line ends; ``literals`` as Markdown writes them."""
    return " ".join(text.replace("``", "`").split())


def book(lines: Iterable[str]) -> str:
    return "\n".join(lines).rstrip("\n") + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ") or " "
