"""Final figures: pooled over the judgings of a winner, and what they are called."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conformance.policies import attempt, failed, unreadable

from kernelwright.agent.audit import pool
from kernelwright.agent.outcome import conclude, cost, standing
from kernelwright.evaluator.engines.engine import Job
from kernelwright.evaluator.engines.fake import FakeEngine, fake_samples, fake_timing
from kernelwright.tasks.records import Attempt, Idea, IdeaStage, Task, Verdict

IDEA = Idea("r", "t", 1, IdeaStage.DRAFT)
TASK = Task("t", "", "t.py", ())


def verdict(speedup: float | None, width: float = 0.0) -> Verdict:
    made = attempt(IDEA, speedup, width).verdict
    assert made is not None
    return made


def judged(speedup: float, spread: float = 0.005) -> Verdict:
    samples = fake_samples(speedup, spread)
    return replace(verdict(speedup), timing=fake_timing(samples), evidence={"samples_us": samples})


def test_the_pool_is_over_all_blocks_and_as_wide_as_processes_disagree() -> None:
    pooled = pool([judged(2.0), judged(1.0), judged(1.5)])
    assert pooled.timing is not None
    eager = pooled.timing.speedup["eager"]
    assert eager.median == pytest.approx(1.5, rel=0.01)
    assert eager.low < 1.01
    assert eager.high > 1.98
    assert pooled.timing.processes == 3
    alike = pool([judged(1.5), judged(1.5), judged(1.5)])
    assert alike.timing is not None
    assert alike.timing.speedup["eager"].low > 1.48
    assert len(alike.evidence["judgings"]) == 3


def test_a_baseline_that_one_judging_lacks_is_left_out() -> None:
    one, other = judged(1.5), judged(1.5)
    (key,) = other.evidence["samples_us"]
    fewer = {k: v for k, v in other.evidence["samples_us"][key].items() if k != "compile"}
    pooled = pool([one, replace(other, evidence={"samples_us": {key: fewer}})])
    assert pooled.timing is not None
    assert set(pooled.timing.baselines) == {"eager"}


def test_untimed_verdicts_stay_as_they_are() -> None:
    assert pool([verdict(None), verdict(None)]) == verdict(None)


@pytest.mark.parametrize(("speedup", "status"), [(1.02, "improved"), (1.01, "solved"), (0.4, "solved"), (None, "solved")])
def test_improved_is_a_lower_bound_above_1_01(speedup: float | None, status: str) -> None:
    assert standing(verdict(speedup)) == status
    assert standing(None) == "unsolved"


def test_a_wide_interval_is_no_improvement() -> None:
    assert standing(verdict(1.5, 0.4)) == "solved"


def test_an_unknown_price_makes_the_sum_unknown() -> None:
    priced = replace(failed(IDEA), answer=replace(failed(IDEA).answer, cost_usd=0.5))
    unpriced = replace(failed(IDEA), answer=replace(failed(IDEA).answer, cost_usd=None))
    assert cost([priced, priced]) == pytest.approx(1.0)
    assert cost([priced, unpriced]) is None
    assert cost([]) == 0.0


def test_the_noisy_winner_is_quoted_by_its_audit_not_by_its_lucky_first_figure(tmp_path: Path) -> None:
    lucky = replace(attempt(IDEA, 3.0), verdict=judged(3.0))

    class Sober(FakeEngine):
        def evaluate(self, job: Job) -> Verdict:
            return judged(1.2)

    outcome = conclude(TASK, [lucky], Sober(), tmp_path, lambda: False)
    assert outcome is not None
    assert outcome.verdict is not None
    assert outcome.verdict.timing is not None
    assert outcome.verdict.timing.speedup["eager"].median == pytest.approx(1.2, rel=0.01)
    assert outcome.verdict.timing.speedup["eager"].high > 2.9


def test_nothing_held(tmp_path: Path) -> None:
    attempts = [failed(IDEA), unreadable(replace(IDEA, number=2))]
    outcome = conclude(TASK, attempts, FakeEngine(), tmp_path, lambda: False)
    assert outcome is not None
    assert (outcome.status, outcome.best) == ("unsolved", None)
    assert "1 incorrect, 1 unreadable; last: empty answer" in outcome.reason


def test_a_stopped_audit_says_nothing(tmp_path: Path) -> None:
    passed: list[Attempt] = [attempt(IDEA, 2.0)]
    assert conclude(TASK, passed, FakeEngine(), tmp_path, lambda: True) is None
