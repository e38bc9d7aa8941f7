"""Delays of (event, node) pairs, told as the figures of this bench are."""

from collections.abc import Sequence

from bench.rows import quantile


def p99_ms(delays_s: Sequence[float]) -> float | None:
    return 1000 * quantile(delays_s, 0.99) if delays_s else None


def p50_ms(delays_s: Sequence[float]) -> float | None:
    return 1000 * quantile(delays_s, 0.5) if delays_s else None


def spoken(delays_s: Sequence[float]) -> str:
    if not delays_s:
        return "nothing heard"
    p50, p99, last = (1000 * quantile(delays_s, share) for share in (0.5, 0.99, 1.0))
    return f"p50 {p50:.1f}, p99 {p99:.1f}, max {last:.1f} ms of {len(delays_s):,} pairs"
