"""Figures as text: always with their interval."""

from __future__ import annotations

from kernelwright.tasks.records import Interval, Timing


def interval(value: Interval | None) -> str:
    """A speedup: ``1.52x [1.49, 1.55]``; a dash where there is none."""
    return f"{value.median:.2f}x [{value.low:.2f}, {value.high:.2f}]" if value else "-"


def latency(timing: Timing | None) -> str:
    """A latency with its interval, in µs or ms; a dash without a timing."""
    if timing is None:
        return "-"
    value = timing.latency_us
    unit, scale = ("ms", 1e-3) if value.median >= 10_000 else ("us", 1.0)
    return f"{value.median * scale:.1f} {unit} [{value.low * scale:.1f}, {value.high * scale:.1f}]"
