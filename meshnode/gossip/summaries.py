"""What a whole region has to spare, for people and for a first guess: half a kilobyte for five hundred machines."""

from collections.abc import Iterable
from typing import Annotated

import msgspec

from meshnode.kernel.decoding import decoded

SUMMARY_BYTES_MAX = 512
CLASSES_MAX = 8
CLASS_CHARS_MAX = 16
PLAIN = "cpu"  # the class of a machine without an accelerator

Amount = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
Class = Annotated[str, msgspec.Meta(min_length=1, max_length=CLASS_CHARS_MAX)]


class Gauge(msgspec.Struct, frozen=True):
    """One machine as its region knows it. ``best``: its class; free amounts as of its last load vector."""

    best: str = PLAIN
    cpu_free_millis: int = 0
    memory_free_mib: int = 0
    gpu_free_mib: int = 0
    agents: int = 0
    queue_centi: int = 0


class RegionSummary(msgspec.Struct, frozen=True, array_like=True):
    """Sums over the nodes of a region; the queue is a mean, in hundredths. ``gpu_free_mib``: by class of machine, the
    eight with most to spare."""

    nodes: Amount = 0
    cpu_free_millis: Amount = 0
    memory_free_mib: Amount = 0
    gpu_free_mib: Annotated[dict[Class, Amount], msgspec.Meta(max_length=CLASSES_MAX)] = {}
    agents: Amount = 0
    queue_centi: Amount = 0


_summaries = msgspec.msgpack.Decoder(RegionSummary)


def summed(gauges: Iterable[Gauge]) -> RegionSummary:
    every = list(gauges)
    classes: dict[str, int] = {}
    for gauge in every:
        if gauge.gpu_free_mib > 0:
            best = gauge.best[:CLASS_CHARS_MAX] or PLAIN
            classes[best] = classes.get(best, 0) + gauge.gpu_free_mib
    most = sorted(classes.items(), key=lambda item: (-item[1], item[0]))[:CLASSES_MAX]
    return RegionSummary(
        len(every), sum(g.cpu_free_millis for g in every), sum(g.memory_free_mib for g in every), dict(most),
        sum(g.agents for g in every), sum(g.queue_centi for g in every) // max(1, len(every)),
    )  # fmt: skip


def encode_summary(summary: RegionSummary) -> bytes:
    body = msgspec.msgpack.encode(summary)
    assert len(body) <= SUMMARY_BYTES_MAX
    return body


def decode_summary(body: bytes) -> RegionSummary:
    """Raises ``RemoteError`` for what is none."""
    return decoded(_summaries.decode, body, "catalogue-malformed")


def machine_class(accelerator_bytes: Iterable[int | None]) -> str:
    """``gpu-24g`` for the biggest accelerator of a machine, ``cpu`` without one."""
    sizes = [size for size in accelerator_bytes if size]
    return f"gpu-{round(max(sizes) / 2**30)}g"[:CLASS_CHARS_MAX] if sizes else PLAIN


def class_rank(best: str) -> int:
    """Higher is better."""
    digits = best.removeprefix("gpu-").removesuffix("g")
    return 1 + int(digits[:9]) if best.startswith("gpu-") and digits.isdecimal() else 0
