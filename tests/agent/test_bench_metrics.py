"""Figures of a bench: their definitions, by property and by example."""

from __future__ import annotations

import math
from itertools import combinations

import pytest
from bench_files import record, sample
from hypothesis import given, settings
from hypothesis import strategies as st

from kernelwright.agent.bench.metrics import Figures, figures, pass_at_k, sol_score, summarise
from kernelwright.agent.bench.records import parse
from kernelwright.agent.bench.resampling import geometric_mean, mcnemar, mean
from kernelwright.tasks.records import Interval

SPEEDUPS = st.floats(0.01, 100)
OUTCOMES = st.lists(st.lists(st.none() | SPEEDUPS, min_size=1, max_size=3), min_size=1, max_size=8)
few = settings(max_examples=40, deadline=None)


def of(*tasks: list[float | None]) -> Figures:
    return figures([sample(f"t/l1/{n}", s, k) for n, own in enumerate(tasks) for k, s in enumerate(own, 1)])


@few
@given(OUTCOMES)
def test_fast_p_falls_with_p_and_starts_at_the_share_that_is_correct(tasks: list[list[float | None]]) -> None:
    found = of(*tasks)
    shares = [f.share.median for f in found.against["best"].fast]
    assert shares == sorted(shares, reverse=True)
    assert shares[0] == found.correct.median
    assert all(f.sure <= f.tasks + 1e-9 for f in found.against["best"].fast)


@few
@given(st.integers(1, 7).flatmap(lambda n: st.tuples(st.just(n), st.integers(0, n), st.integers(1, n))))
def test_pass_at_k_is_the_share_of_all_choices_with_a_correct_one(numbers: tuple[int, int, int]) -> None:
    n, c, k = numbers
    choices = list(combinations([True] * c + [False] * (n - c), k))
    assert pass_at_k(n, c, k) == pytest.approx(sum(map(any, choices)) / len(choices))


@pytest.mark.parametrize("numbers", [(3, 4, 1), (3, -1, 1), (3, 1, 4), (3, 1, 0)])
def test_pass_at_k_is_not_defined_outside_its_domain(numbers: tuple[int, int, int]) -> None:
    with pytest.raises(ValueError, match="not defined"):
        pass_at_k(*numbers)


@few
@given(st.lists(SPEEDUPS, min_size=1, max_size=8), st.floats(0.1, 10))
def test_a_geometric_mean_scales_inverts_and_lies_within_its_values(values: list[float], factor: float) -> None:
    found = geometric_mean(values)
    scaled, inverse = geometric_mean([v * factor for v in values]), geometric_mean([1 / v for v in values])
    assert found is not None
    assert scaled is not None
    assert inverse is not None
    assert scaled.median == pytest.approx(found.median * factor)
    assert inverse.median == pytest.approx(1 / found.median)
    assert min(values) * (1 - 1e-9) <= found.low <= found.median <= found.high <= max(values) * (1 + 1e-9)


def test_a_failure_counts_in_fast_p_and_never_as_a_speedup() -> None:
    against = of([4.0], [None], [1.0], [None]).against["eager"]
    assert {f.p: f.share.median for f in against.fast} == {0: 0.5, 1: 0.25, 1.5: 0.25, 2: 0.25, 5: 0.0}
    assert against.geomean is not None
    assert against.geomean.median == pytest.approx(2.0)  # of 4 and 1; failures as 1.0x would give 1.41
    assert (against.measured, against.failed) == (2, 2)


def test_only_a_whole_interval_above_p_is_sure() -> None:
    found = figures([sample("t/l1/a", (1.2, 0.9, 1.4)), sample("t/l1/b", (1.2, 1.1, 1.4))])
    fast = {f.p: f for f in found.against["best"].fast}
    assert (fast[1].tasks, fast[1].sure) == (2, 1)


def test_a_task_that_half_its_samples_solve_counts_one_half() -> None:
    found = of([2.5, None], [None, None])
    assert {f.p: f.tasks for f in found.against["best"].fast}[2] == 0.5
    assert (found.solved, found.correct.median) == (1, 0.25)
    assert {k: i.median for k, i in found.pass_at.items()} == {1: 0.25, 2: 0.5}


def test_pass_at_k_goes_to_the_fewest_samples_of_any_task() -> None:
    assert set(of([2.0, None, 2.0], [2.0, None]).pass_at) == {1, 2}


def test_solved_without_a_timing_is_correct_and_no_faster() -> None:
    timed = parse(record("t/l1/a", 3.0))
    untimed = parse({**record("t/l1/b", 3.0), "speedup": {"eager": [3, 3, 3], "compile": None, "best": [3, 3, 3]}})
    against = figures([timed, untimed]).against["compile"]
    assert {f.p: f.tasks for f in against.fast}[0] == 2
    assert {f.p: f.tasks for f in against.fast}[1] == 1
    assert (against.measured, against.unmeasured, against.failed) == (1, 1, 0)


@pytest.mark.parametrize(
    ("speedup", "latency", "bound", "score"),
    [
        (1.0, 10.0, 5.0, 0.5),  # as the baseline
        (2.0, 5.0, 5.0, 1.0),  # at the bound
        (2.0, 4.9, 5.0, 1.0),  # within the bound's error
        (2.0, 10.0, 5.0, 1 / (1 + 5 / 15)),
        (0.5, 10.0, 5.0, None),  # the baseline is at the bound
        (0.4, 10.0, 5.0, None),
        (2.0, 10.0, None, None),
    ],
)
def test_sol_score(speedup: float, latency: float, bound: float | None, score: float | None) -> None:
    found = sol_score(sample("t/l1/a", speedup, latency_us=[latency] * 3, roofline_us=bound))
    assert found == (pytest.approx(score) if score is not None else None)


@few
@given(SPEEDUPS, st.floats(0.1, 1e4), st.floats(0.1, 1e4))
def test_a_sol_score_is_a_share_and_grows_with_speed(speedup: float, latency: float, bound: float) -> None:
    def score(time: float) -> float | None:  # the same baseline
        faster = speedup * latency / time
        return sol_score(sample("t/l1/a", faster, latency_us=[time] * 3, roofline_us=bound))

    slow, fast = score(latency), score(latency / 2)
    if slow is not None and fast is not None:
        assert 0 < slow <= fast * (1 + 1e-9) <= 1 + 1e-6


def test_a_failure_scores_0_and_an_undefined_score_is_left_out() -> None:
    found = figures([sample("t/l1/a", 1.0), sample("t/l1/b"), sample("t/l1/c", 1.0, roofline_us=None)])
    assert found.sol_score is not None
    assert (found.sol_score.median, found.sol_undefined) == (0.25, 1)


def test_what_failures_cost_is_in_the_cost_of_what_was_solved() -> None:
    found = of([2.0, None], [None, None])
    assert (found.usd_per_solved, found.tokens_per_solved, found.judge_seconds_per_solved) == (2.0, 400, 8.0)
    assert of([None]).usd_per_solved is None
    assert figures([sample("t/l1/a", 2.0, cost_usd=None)]).usd_per_solved is None


def test_levels_and_categories_have_figures_of_their_own() -> None:
    summary = summarise([sample("t/l1/a", 2.0, category="norm"), sample("t/l2/b"), sample("t/l2/c", status="refused")])
    assert summary is not None
    assert {name: (f.tasks, f.solved, f.refused) for name, f in summary.levels.items()} == {"l1": (1, 1, 0), "l2": (2, 0, 1)}
    assert set(summary.categories) == {"norm"}
    assert summary.all.tasks == 3
    assert summarise([]) is None


def test_intervals_narrow_with_tasks_and_are_the_same_every_time() -> None:
    few_tasks, many = mean([0.0, 1.0] * 3), mean([0.0, 1.0] * 100)
    assert few_tasks is not None
    assert many is not None
    assert many.high - many.low < 0.2 < few_tasks.high - few_tasks.low
    assert mean([0.0, 1.0] * 100) == many
    assert mean([]) is None


def test_a_bootstrap_interval_is_the_textbooks() -> None:
    found = mean([0.0, 1.0] * 50)
    half = 1.96 * math.sqrt(0.25 / 100)
    assert isinstance(found, Interval)
    assert (found.low, found.high) == pytest.approx((0.5 - half, 0.5 + half), abs=0.015)


@pytest.mark.parametrize(("pairs", "p"), [((0, 0), 1.0), ((3, 3), 1.0), ((5, 0), 2 / 32), ((1, 5), 14 / 64)])
def test_mcnemar_is_the_exact_binomial_test(pairs: tuple[int, int], p: float) -> None:
    assert mcnemar(*pairs) == mcnemar(*reversed(pairs)) == pytest.approx(p)
