"""Which members to keep: the expected best against counting by hand, and proposals in worlds of known odds."""

from __future__ import annotations

import itertools
import math
import random
from collections.abc import Mapping
from dataclasses import replace

import pytest
from recorded import Speedups, recorded

from kernelwright.agent.ensemble.gains import FIRST
from kernelwright.agent.ensemble.members import figures, read
from kernelwright.agent.ensemble.selection import MIN_ATTEMPTS, MIN_TASKS, Proposal, TooLittle, expected_best, propose
from kernelwright.tasks.errors import InputError, UnknownName

NAMES = tuple(f"t{n}" for n in range(12))
Outcomes = Mapping[str, Mapping[str, Speedups]]


def proposal(outcomes: Outcomes, costs: Mapping[str, float | None] | None = None, **given: object) -> Proposal:
    found = propose(read([recorded(outcomes, costs=costs)]), **given)  # type: ignore[arg-type]
    assert isinstance(found, Proposal)
    return found


# The expected best


def test_the_best_of_k_is_the_mean_over_all_ways_to_draw_k() -> None:
    one, two = [0.0, 0.0, 0.4, 1.0, 1.0], [0.0, 0.7, 0.2]
    ways = [max(*a, *b) for a in itertools.combinations(one, 3) for b in itertools.combinations(two, 2)]
    assert expected_best({"a": sorted(one), "b": sorted(two)}, {"a": 3, "b": 2}) == pytest.approx(sum(ways) / len(ways))


def test_a_fractional_share_is_drawn_between_its_neighbours() -> None:
    scores = {"a": [0.0, 0.1, 0.5, 0.9]}
    low, high = expected_best(scores, {"a": 1}), expected_best(scores, {"a": 2})
    assert expected_best(scores, {"a": 1.25}) == pytest.approx(0.75 * low + 0.25 * high)
    assert expected_best(scores, {"a": 0}) == 0.0
    assert expected_best(scores, {"a": 4}) == pytest.approx(0.9)


def test_it_is_unbiased_however_few_attempts_were_recorded() -> None:
    """The mean over many recordings of 4 attempts is the true expected best of 3, which needs no more than 3."""
    luck, law = random.Random(0), [0.0, 0.0, 0.3, 1.0]
    truth = sum(max(draw) for draw in itertools.product(law, repeat=3)) / 4**3
    found = [expected_best({"a": sorted(luck.choices(law, k=4))}, {"a": 3}) for _ in range(4000)]
    assert sum(found) / len(found) == pytest.approx(truth, abs=0.015)


# Figures of a member


def test_figures_of_each_member() -> None:
    records = read([recorded({"x/good": {"t": [None, 2.0], "u": [None]}, "x/bad": {"t": [None, 3.0]}}, costs={"x/bad": 0.5})])
    good, bad = figures(records)
    assert (good.member, good.attempts, good.tasks, good.solved) == ("x/good", 3, 2, 0.5)
    assert good.gain == pytest.approx(FIRST + math.log(2.0))
    assert bad.gain == pytest.approx(math.log(1.5))
    assert good.cost_usd == pytest.approx(0.3)
    assert good.gain_per_usd == pytest.approx(good.gain / 0.3)
    assert bad.gain_per_million_tokens == pytest.approx(bad.gain / 3000 * 1e6)
    assert good.diversity is not None
    assert 1.0 <= good.diversity.k_star <= 2.0


def test_an_unknown_price_leaves_tokens_to_compare_by() -> None:
    records = read([recorded({"x/a": {"t": [2.0]}, "x/b": {"t": [3.0]}}, costs={"x/a": None})])
    first, second = figures(records)
    assert records.unit == "tokens"
    assert {first.member: first.gain_per_usd, second.member: second.gain_per_usd}["x/a"] is None
    assert (first.gain_per_million_tokens or 0) > (second.gain_per_million_tokens or 0)


# Which to keep


def specialists() -> Outcomes:
    """Each of two solves the half of the tasks that the other cannot, and a third solves none."""
    half = [3.0, 2.8, 3.1, 2.9, 3.0, 3.2]
    none: Speedups = [None] * 6
    return {
        "x/even": {t: half if n % 2 == 0 else none for n, t in enumerate(NAMES)},
        "x/odd": {t: half if n % 2 == 1 else none for n, t in enumerate(NAMES)},
        "x/none": dict.fromkeys(NAMES, none),
    }


def test_members_that_complement_each_other_are_kept_and_one_that_adds_nothing_is_not() -> None:
    found = proposal(specialists())
    assert set(found.keep) == {"x/even", "x/odd"}
    first, second, third = found.steps
    assert first.expected_best.median == pytest.approx(math.sqrt(3.2), rel=0.01)
    assert second.expected_best.median == pytest.approx(3.1, rel=0.05)
    assert second.added.median == pytest.approx(second.expected_best.median / first.expected_best.median)
    assert second.added.low > 1.0
    assert not third.keep
    assert third.added.median < 1.0  # it only takes attempts from the others
    assert (found.budget, found.budget_unit, len(found.tasks)) == (6.0, "attempts", 12)
    assert second.diversity is not None
    assert first.diversity is not None
    assert second.diversity.k_star > first.diversity.k_star
    assert second.cost == pytest.approx(0.6)


def test_the_interval_is_over_tasks_and_the_same_each_time() -> None:
    one, other = proposal(specialists()), proposal(specialists())
    assert one == other
    assert one.steps[0].expected_best.low < 1.5 < one.steps[0].expected_best.high  # half of the tasks decide


def test_of_members_alike_only_one_is_kept() -> None:
    """In most of many worlds; what is kept beside it by luck is about what the interval allows."""
    kept = []
    for seed in range(15):
        luck = random.Random(seed)
        law = [None, None, 1.2, 1.5, 2.0]
        world = {m: {t: luck.choices(law, k=6) for t in NAMES} for m in ("x/a", "x/b", "x/c")}
        kept.append(len(proposal(world).keep))
    assert sum(k > 1 for k in kept) <= 1
    assert min(kept) == 1


def test_of_two_that_add_as_much_the_more_different_answers_are_taken() -> None:
    """x/dull and x/lively win the same tasks by as much; all that x/dull writes is spelt like x/even's."""
    outcomes = specialists()
    odd = outcomes["x/odd"]
    better = {t: [s and s + 0.2 for s in own] for t, own in outcomes["x/even"].items()}
    run = recorded({"x/even": better, "x/dull": odd, "x/lively": odd})
    same = run.steps[0].answer
    alike = [replace(s, answer=replace(s.answer, kernel=same.kernel, strategy=same.strategy)) for s in run.steps]
    lively = "x/lively"
    steps = tuple(own if own.answer.model == lively else dull for own, dull in zip(run.steps, alike, strict=True))
    found = propose(read([replace(run, steps=steps)]))
    assert isinstance(found, Proposal)
    first, second, _ = found.steps
    assert (first.member, second.member, second.alike) == ("x/even", lively, ("x/dull",))


@pytest.mark.parametrize("tasks", [0, 1, MIN_TASKS - 1])
def test_too_few_tasks_are_no_ground_for_a_proposal(tasks: int) -> None:
    world = {m: {t: [2.0] * 6 for t in NAMES[:tasks]} | {"extra": [1.0]} for m in ("x/a", "x/b")}
    found = propose(read([recorded(world)]))
    assert isinstance(found, TooLittle)
    assert f"on {tasks} tasks" in found.reason
    assert f"{MIN_ATTEMPTS} attempts" in found.needed
    assert f"{MIN_TASKS} tasks" in found.needed


def test_too_few_attempts_and_tasks_not_in_common_are_none_either() -> None:
    few = {m: dict.fromkeys(NAMES, [2.0] * (MIN_ATTEMPTS - 1)) for m in ("x/a", "x/b")}
    apart = {"x/a": dict.fromkeys(NAMES[:6], [2.0] * 6), "x/b": dict.fromkeys(NAMES[6:], [2.0] * 6)}
    alone = {"x/a": dict.fromkeys(NAMES, [2.0] * 6)}
    for world, why in ((few, "on 0 tasks"), (apart, "on 0 common tasks"), (alone, "too little")):
        found = propose(read([recorded(world)]))
        assert isinstance(found, TooLittle)
        assert why in found.reason


def test_a_member_with_too_little_is_left_out_and_stops_no_comparison() -> None:
    world = {**specialists(), "x/new": {"t0": [9.0]}}
    found = proposal(world)
    assert set(found.keep) == {"x/even", "x/odd"}
    assert found.left_out == {"x/new": f"{MIN_ATTEMPTS} attempts on 0 tasks"}


def test_under_a_budget_in_dollars_a_cheap_member_gets_more_attempts() -> None:
    world = {"x/dear": dict.fromkeys(NAMES, [1.5] * 8), "x/cheap": dict.fromkeys(NAMES, [None, None, None, 2.0] * 2)}
    costs = {"x/dear": 0.5, "x/cheap": 0.1}
    found = proposal(world, costs, usd=0.5)
    first = found.steps[0]
    assert (first.member, first.attempts, first.cost) == ("x/cheap", pytest.approx(5), pytest.approx(0.5))
    assert proposal(world, costs, attempts=1).steps[0].member == "x/dear"


def test_weights_split_the_budget() -> None:
    found = proposal(specialists(), weights={"x/even": 3.0, "x/odd": 1.0})
    two = {s.member: s.attempts for s in found.steps[:2]}
    assert two[found.steps[1].member] == pytest.approx(6 * (0.75 if found.steps[1].member == "x/even" else 0.25))
    with pytest.raises(UnknownName, match="x/who"):
        propose(read([recorded(specialists())]), weights={"x/who": 1.0})


def test_more_than_was_recorded_is_not_guessed() -> None:
    records = read([recorded(specialists())])
    with pytest.raises(InputError, match=r"--usd 2 buys 20 attempts of x/even, of which 6 a task") as raised:
        propose(records, usd=2)
    assert "--usd 0.6" in raised.value.remedy
    with pytest.raises(InputError, match="price of every answer"):
        propose(read([recorded(specialists(), costs={"x/odd": None})]), usd=0.1)
    found = propose(records, attempts=7)
    assert isinstance(found, TooLittle)
    assert "7 attempts" in found.needed


# What cannot be compared


def test_runs_that_cannot_be_put_together() -> None:
    good = recorded({"x/a": {"t": [2.0]}})
    other = recorded({"x/a": {"t": [2.0]}}, run="s", device="another cpu")
    twin = recorded({"x/a": {"t": [2.0]}}, run="s")
    twin = replace(twin, tasks=(replace(twin.tasks[0], source="# changed"),))
    bad = {
        "given twice": [good, good],
        "repeats another run": [recorded({"x/a": {"t": [2.0]}}, model="replay:r")],
        "no model's answer: its writer was playbook": [recorded({"playbook": {"t": [2.0]}}, prompt="")],
        "nothing in it was answered": [replace(good, steps=())],
        "different devices: a cpu, another cpu": [good, other],
        "different backends": [good, recorded({"x/a": {"t": [2.0]}}, run="s", backend="triton")],
        "two tasks by the name t": [good, twin],
    }
    for problem, recordings in bad.items():
        with pytest.raises(InputError, match=problem) as raised:
            read(recordings)
        assert raised.value.remedy


def test_members_that_ran_alone_are_compared_across_runs() -> None:
    alone = [recorded({m: own}, run=m.replace("/", "-")) for m, own in specialists().items()]
    found = propose(read(alone))
    assert isinstance(found, Proposal)
    assert set(found.keep) == {"x/even", "x/odd"}
