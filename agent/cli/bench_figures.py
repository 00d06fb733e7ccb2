"""A bench's figures as text, each with its interval where it has one."""

from __future__ import annotations

from typing import TYPE_CHECKING

from kernelwright.agent.cli.figures import interval

if TYPE_CHECKING:
    from kernelwright.agent.bench.metrics import Figures
    from kernelwright.tasks.records import Interval


def lines(figures: Figures, baseline: str = "best") -> list[str]:
    """What was solved, how fast over ``baseline``, how near the bound, and at what cost."""
    against = figures.against[baseline]
    fast = ", ".join(f"fast_{f.p:g} {_share(f.share)}" for f in against.fast)
    passed = ", ".join(f"pass@{k} {_share(share)}" for k, share in figures.pass_at.items())
    apart = f"{against.failed} failed" + (f", {against.unmeasured} without timing" if against.unmeasured else "")
    sol, roofline = (_share(f) for f in (figures.sol_score, figures.roofline_fraction))
    found = [
        f"solved {figures.solved} of {figures.tasks} tasks, {passed}",
        f"over {baseline}: {fast}",
        f"geometric mean {interval(against.geomean)} over {against.measured} tasks; apart from it: {apart}",
        f"SOL score {sol}, roofline fraction {roofline}",
    ]
    if figures.solved:
        cost = "unknown" if figures.usd_per_solved is None else f"${figures.usd_per_solved:.4g}"
        rest = f"{figures.tokens_per_solved:,.0f} tokens, {figures.judge_seconds_per_solved:.3g} s of judging"
        found.append(f"a solved task: {cost}, {rest}")
    return found


def _share(value: Interval | None) -> str:
    return f"{value.median:.0%} [{value.low:.0%}, {value.high:.0%}]" if value else "-"
