"""How a task ended: the winner, its final figures, and one line that says why."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from kernelwright.agent.audit import audit
from kernelwright.agent.policies.policy import best_of
from kernelwright.evaluator.engines.engine import Engine
from kernelwright.evaluator.figures import in_words
from kernelwright.memory.records import TaskOutcome
from kernelwright.memory.static import static
from kernelwright.tasks.records import Attempt, Task, Verdict

IMPROVED = 1.01
"""Lower bound of the speedup against the best baseline above which a kernel is an improvement (design §3)."""


def conclude(
    task: Task,
    attempts: Sequence[Attempt],
    engine: Engine,
    folder: Path,
    stopping: Callable[[], bool],
    ended: str = "",
) -> TaskOutcome | None:
    """The final outcome of a task whose search has ended; the winner is judged again in fresh processes.

    ``ended`` says why the search ended, where it did before its attempts were used up. None: stopped before that was done.
    """
    found = audit(task, attempts, engine, folder, stopping)
    if found is None:
        return None
    verdict = found.verdict
    reason = "; ".join([describe(verdict) if verdict else _failures(attempts), *found.notes, *([ended] if ended else [])])
    best = found.winner.id if found.winner else None
    return TaskOutcome(task.name, standing(verdict), len(attempts), best, verdict, cost(attempts), reason)


def so_far(task: Task, attempts: Sequence[Attempt], why: str, *, waiting: bool = False) -> TaskOutcome:
    """The outcome of a task that is not finished: its best attempt's own figures, and ``why`` it stopped."""
    best = best_of(attempts)
    verdict = best.verdict if best else None
    status = "waiting" if waiting else standing(verdict)
    reason = f"{why}; so far: {describe(verdict) if verdict else _failures(attempts)}"
    return TaskOutcome(task.name, status, len(attempts), best.id if best else None, verdict, cost(attempts), reason)


def refused(task: str, why: str) -> TaskOutcome:
    """The outcome of a task that was not admitted."""
    return TaskOutcome(task, "refused", 0, None, None, 0.0, why)


def unaffordable(task: str, why: str) -> TaskOutcome:
    """The outcome of a task that was not begun, since the run had nothing left to spend."""
    return TaskOutcome(task, "unsolved", 0, None, None, 0.0, why)


def standing(verdict: Verdict | None) -> str:
    """``improved``, ``solved`` or ``unsolved`` by the winner's final verdict."""
    if verdict is None or not verdict.passed:
        return "unsolved"
    if verdict.timing is None:
        return "solved"
    best = verdict.timing.speedup.get("best")
    return "improved" if best is not None and best.low > IMPROVED else "solved"


def describe(verdict: Verdict) -> str:
    """A passed verdict in one line."""
    timing = verdict.timing
    if timing is None:
        if why := verdict.evidence.get("not_timed"):
            return f"passed, verified {verdict.assurance.value}; not timed: {why}"
        known = static(verdict)
        estimate = f"; the compiler estimates {known.cycles} cycles ({known.where}), which is no timing" if known else ""
        return f"passed, verified {verdict.assurance.value}; no timing without the device{estimate}"
    best = timing.speedup.get("best")
    if best is None:
        return f"passed: {in_words(timing)}"
    figure = f"{best.median:.2f}x [{best.low:.2f}, {best.high:.2f}] against {timing.best_baseline}"
    return figure if best.low > IMPROVED else f"passed, not clearly ahead: {figure}"


def cost(attempts: Sequence[Attempt]) -> float | None:
    """US dollars that the answers cost; None when one price is unknown."""
    total = 0.0
    for attempt in attempts:
        if attempt.answer.cost_usd is None:
            return None
        total += attempt.answer.cost_usd
    return total


def _failures(attempts: Sequence[Attempt]) -> str:
    """What became of attempts of which none passed, and the last one's reason."""
    if not attempts:
        return "no attempt was made"
    counts = ", ".join(f"{n} {status}" for status, n in Counter(a.status for a in attempts).most_common())
    last = attempts[-1]
    why = last.verdict.reason if last.verdict else last.answer.problem
    return f"none of {len(attempts)} attempts held: {counts}; last: {why}"
