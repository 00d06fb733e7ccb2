"""Figures as text: measured ones always with their interval."""

from __future__ import annotations

from kernelwright.agent.money import usd
from kernelwright.memory.records import Spent
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


def spent_in_words(spent: Spent) -> str:
    """``12 calls, 45,210 tokens in, 3,100 out, $0.31``."""
    calls = f"{spent.calls} {'call' if spent.calls == 1 else 'calls'}"
    return f"{calls}, {spent.tokens_in:,} tokens in, {spent.tokens_out:,} out, {usd(spent.cost_usd)}"
