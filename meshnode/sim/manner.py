"""What a simulated agent is like, as its command line says."""

import msgspec

from meshnode.kernel.instant import MS


class Manner(msgspec.Struct, frozen=True):
    """What an agent is like. ``start``: "" or how it fails to: "crash", "hang". ``deaf``: it ignores SIGTERM."""

    skills: tuple[str, ...]
    answer_us: int = 20 * MS
    crash_every: int = 0
    stateful: bool = False
    merges: bool = False
    start: str = ""
    deaf: bool = False


def read_manner(agent: str, words: tuple[str, ...]) -> Manner:
    """From what follows the program's name on the command line: ``skill[,skill...] [answer_ms=20] [stateful=1] ...``"""
    options = dict(word.split("=", 1) for word in words[1:])
    skills = words[0].split(",") if words else []
    if stateful := options.get("stateful") == "1":
        skills += [f"{agent}.{verb}" for verb in ("add", "set", "get")]
    return Manner(
        tuple(dict.fromkeys(skills)), int(options.get("answer_ms", "20")) * MS, int(options.get("crash_every", "0")),
        stateful, options.get("merge") == "1", options.get("start", ""), options.get("deaf") == "1",
    )  # fmt: skip
