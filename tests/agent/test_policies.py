"""Policies: drafting, refining, what replaces an incumbent, and when a search ends."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
from conformance.policies import Make, PolicyConformance, Worth, attempt, duplicate, failed, rejected, unreadable
from conformance.searching import SearchConformance

from kernelwright.agent.policies import POLICIES
from kernelwright.agent.policies.evokernel import EvoKernel, epsilon
from kernelwright.agent.policies.greedy import Greedy
from kernelwright.agent.policies.policy import Policy, Search, best_of, replaces
from kernelwright.agent.policies.recorded import Recorded
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Attempt, Idea, IdeaStage, Status
from kernelwright.tasks.resolve import resolve


class TestSearching(SearchConformance):
    """All that choose for themselves: whatever is in the table is held to it."""

    @pytest.fixture(params=sorted(set(POLICIES) - {"recorded"}))
    def make(self, request: pytest.FixtureRequest) -> Make:
        made: Make = resolve("policy", request.param, POLICIES)
        return made


class TestRecorded(PolicyConformance):
    @pytest.fixture
    def make(self) -> Make:
        return Recorded


def search(**changes: object) -> Search:
    return replace(Search(run="r", task="t", family="f", backend="cpp", budget=30), **changes)  # type: ignore[arg-type]


def ask(policy: Policy) -> Idea:
    idea = policy.ask()
    assert idea is not None
    return idea


@pytest.mark.parametrize("kind", [EvoKernel, Greedy])
def test_drafts_until_something_is_feasible_then_refines(kind: Make) -> None:
    policy = kind(search(), Worth())
    for _ in range(3):
        idea = ask(policy)
        assert idea.stage is IdeaStage.DRAFT
        assert idea.parent is None
        policy.tell(idea, failed(idea))
    fourth = ask(policy)
    policy.tell(fourth, attempt(fourth, 0.5))
    fifth = ask(policy)
    assert fifth.stage is IdeaStage.REFINE
    assert fifth.parent == fourth.id


def test_greedy_refines_the_incumbent_and_reverts_what_does_not_clear_it() -> None:
    policy = Greedy(search(), Worth())
    parents = []
    for speedup, width in ((1.0, 0.0), (1.3, 0.1), (1.32, 0.05), (2.0, 0.01)):
        idea = ask(policy)
        parents.append(idea.parent)
        policy.tell(idea, attempt(idea, speedup, width))
    first, second, third, fourth = (search().idea(n, IdeaStage.REFINE).id for n in (1, 2, 3, 4))
    assert parents == [None, first, second, second]  # 1.32 ± 5 % does not clear 1.3 by 1 %
    assert third not in parents
    assert ask(policy).parent == fourth


def test_evokernel_refines_what_is_worth_most_not_what_is_fastest() -> None:
    asked: list[str | None] = []
    slow = search().idea(1, IdeaStage.DRAFT).id
    for seed in range(40):
        policy = EvoKernel(search(seed=seed, jobs=2, budget=30), Worth({slow: 1.0}))
        one, two = ask(policy), ask(policy)
        policy.tell(one, attempt(one, 0.8))
        policy.tell(two, attempt(two, 1.2))
        asked.append(ask(policy).parent)
    share = asked.count(slow) / len(asked)
    assert 0.75 <= share < 1.0  # the rest is ε-greedy's exploration


def test_evokernel_does_not_leave_the_best_for_a_slow_start_that_was_never_refined() -> None:
    asked: list[str | None] = []
    fast = search().idea(2, IdeaStage.DRAFT).id
    for seed in range(40):
        policy = EvoKernel(search(seed=seed, jobs=2, budget=30), Worth({fast: -0.3}))  # it had one poor child
        one, two = ask(policy), ask(policy)
        policy.tell(one, attempt(one, 0.8))
        policy.tell(two, attempt(two, 1.6))
        asked.append(ask(policy).parent)
    assert asked.count(fast) / len(asked) >= 0.75


def test_evokernel_prefers_the_faster_while_nothing_is_known_of_their_worth() -> None:
    policy = EvoKernel(search(seed=1, jobs=2), Worth())
    one, two = ask(policy), ask(policy)
    policy.tell(two, attempt(two, 0.8))
    policy.tell(one, attempt(one, 1.6))
    assert ask(policy).parent == one.id


def test_epsilon_is_annealed_over_the_budget() -> None:
    assert epsilon(1, 30) == pytest.approx(0.2)
    assert epsilon(30, 30) == pytest.approx(0.05)
    assert epsilon(15, 30) < epsilon(5, 30)
    assert epsilon(1, 1) == pytest.approx(0.2)


def test_an_incumbent_is_replaced_only_beyond_its_median_by_one_percent() -> None:
    idea = search().idea(1, IdeaStage.DRAFT)
    old = attempt(idea, 1.0)
    assert not replaces(attempt(idea, 1.01), old)
    assert replaces(attempt(idea, 1.02), old)
    assert not replaces(attempt(idea, 1.5, 0.4), old)
    assert not replaces(failed(idea), None)
    assert replaces(attempt(idea), None)  # passed, simulated: no timing
    assert replaces(old, attempt(idea))
    assert not replaces(attempt(idea), old)


def test_best_goes_by_number_whatever_the_order() -> None:
    told = [attempt(search().idea(n, IdeaStage.DRAFT), s) for n, s in ((3, 1.005), (1, 1.0), (2, 0.5))]
    best = best_of(told)
    assert best is not None
    assert best.idea.number == 1


@pytest.mark.parametrize("kind", [EvoKernel, Greedy])
def test_patience_counts_from_the_incumbent(kind: Make) -> None:
    policy = kind(search(patience=2), Worth())
    speedups = iter((None, None, None, 1.0, 1.5, 1.4, 1.4, 1.4))
    numbers = []
    while (idea := policy.ask()) is not None:
        numbers.append(idea.number)
        speedup = next(speedups)
        policy.tell(idea, failed(idea) if speedup is None else attempt(idea, speedup))
    assert numbers == [1, 2, 3, 4, 5, 6, 7]


@pytest.mark.parametrize("kind", [EvoKernel, Greedy])
def test_target_ends_the_search(kind: Make) -> None:
    policy = kind(search(target=1.5), Worth())
    first = ask(policy)
    policy.tell(first, attempt(first, 1.2))
    second = ask(policy)
    policy.tell(second, attempt(second, 1.5))
    assert policy.ask() is None


def test_recorded_repeats_stage_seed_and_start_point_under_the_new_run() -> None:
    old = replace(search(), run="old")
    script = (
        old.idea(1, IdeaStage.DRAFT),
        replace(old.idea(3, IdeaStage.REFINE), parent=old.idea(1, IdeaStage.DRAFT).id, seed=99),
    )
    policy = Recorded(search(script=script, seed=5), Worth())
    first = ask(policy)
    policy.tell(first, failed(first))
    second = ask(policy)
    policy.tell(second, failed(second))
    assert policy.ask() is None
    assert (first.run, first.seed) == ("r", script[0].seed)
    assert (second.number, second.parent, second.seed, second.stage) == (2, first.id, 99, IdeaStage.REFINE)


def test_recorded_without_a_recording_says_so() -> None:
    with pytest.raises(InputError, match="nothing is recorded"):
        Recorded(search(), Worth())


@pytest.mark.parametrize("bad", [{"budget": 0}, {"jobs": -1}, {"patience": 0}])
def test_impossible_limits_are_refused(bad: dict[str, int]) -> None:
    with pytest.raises(InputError, match="at least 1"):
        search(**bad)


def story(policy: Policy, *outcomes: Callable[[Idea], Attempt]) -> list[tuple[str, int | None]]:
    """Stage and parent's number of each idea asked, ending with the one after the last outcome."""
    asked = []
    for outcome in (*outcomes, None):
        idea = ask(policy)
        asked.append((idea.stage.value, int(idea.parent.rsplit("-", 1)[1]) if idea.parent else None))
        if outcome is not None:
            policy.tell(idea, outcome(idea))
    return asked


def passed(speedup: float) -> Callable[[Idea], Attempt]:
    return lambda idea: attempt(idea, speedup)


def same_as(number: int, made: Callable[[Idea], Attempt]) -> Callable[[Idea], Attempt]:
    return lambda idea: duplicate(made(idea), search().idea(number, IdeaStage.DRAFT).id)


@pytest.mark.parametrize("kind", [EvoKernel, Greedy])
def test_a_rejected_draft_is_repaired_so_many_times_in_a_row_and_then_drafted_anew(kind: Make) -> None:
    told = story(kind(search(repairs=2), Worth()), failed, failed, failed, failed, passed(1.0))
    assert told == [("draft", None), ("draft", 1), ("draft", 2), ("draft", None), ("draft", 4), ("refine", 5)]


@pytest.mark.parametrize("kind", [EvoKernel, Greedy])
def test_a_rejected_refinement_is_repaired_as_a_refinement(kind: Make) -> None:
    told = story(kind(search(repairs=2), Worth()), passed(1.0), failed, failed, failed, failed, passed(2.0))
    assert told[:5] == [("draft", None), ("refine", 1), ("refine", 2), ("refine", 3), ("refine", 1)]
    assert told[5] == ("refine", 5)
    if kind is Greedy:
        assert told[6] == ("refine", 6)


@pytest.mark.parametrize("kind", [EvoKernel, Greedy])
def test_without_repairs_everything_goes_as_it_did(kind: Make) -> None:
    told = story(kind(search(repairs=0), Worth()), failed, failed, passed(1.0), failed, failed)
    assert told == [("draft", None)] * 3 + [("refine", 3)] * 3


@pytest.mark.parametrize("status", [s for s in Status if s not in (Status.PASSED, Status.UNSUPPORTED)])
def test_what_is_repaired(status: Status) -> None:
    told = story(Greedy(search(repairs=1), Worth()), lambda idea: rejected(idea, status))
    assert told[1] == ("draft", 1)


def test_what_a_simulator_does_not_model_is_written_in_another_way() -> None:
    def lacking(idea: Idea) -> Attempt:
        told = rejected(idea, Status.UNSUPPORTED)
        assert told.verdict is not None
        return replace(told, verdict=replace(told.verdict, evidence={"rule": "not_modelled"}))

    assert story(Greedy(search(repairs=1), Worth()), lacking)[1] == ("draft", 1)


@pytest.mark.parametrize(
    "outcome", [unreadable, lambda idea: rejected(idea, Status.UNSUPPORTED), same_as(9, failed)], ids=["text", "device", "same"]
)
def test_what_is_not_repaired(outcome: Callable[[Idea], Attempt]) -> None:
    assert story(Greedy(search(repairs=2), Worth()), outcome)[1] == ("draft", None)


def test_a_repair_that_changes_nothing_ends_the_repairs() -> None:
    assert story(Greedy(search(repairs=3), Worth()), failed, same_as(1, failed))[-1] == ("draft", None)


def test_several_rejected_at_once_are_repaired_oldest_first_until_something_passes() -> None:
    policy = Greedy(search(repairs=2, jobs=3), Worth())
    first = [ask(policy) for _ in range(3)]
    for idea in first:
        policy.tell(idea, failed(idea))
    second = [ask(policy) for _ in range(3)]
    assert [i.parent for i in second] == [i.id for i in first]
    policy.tell(second[0], failed(second[0]))
    policy.tell(second[1], attempt(second[1], 1.5))
    third = ask(policy)
    assert (third.stage, third.parent) == (IdeaStage.REFINE, second[1].id)


def test_a_repair_counts_as_an_attempt() -> None:
    policy = Greedy(search(repairs=2, budget=3), Worth())
    for _ in range(3):
        idea = ask(policy)
        policy.tell(idea, failed(idea))
    assert policy.ask() is None


@pytest.mark.parametrize("kind", [EvoKernel, Greedy])
def test_a_duplicate_replaces_nothing_and_is_no_start_point(kind: Make) -> None:
    for seed in range(20):
        policy = kind(search(seed=seed), Worth({search().idea(2, IdeaStage.REFINE).id: 9.0}))
        assert story(policy, passed(1.0), same_as(1, passed(3.0)))[-1] == ("refine", 1)
    original, again = (search().idea(n, IdeaStage.DRAFT) for n in (1, 2))
    assert not replaces(duplicate(attempt(again, 9.0), original.id), attempt(original, 1.0))
    assert not replaces(duplicate(attempt(again, 9.0), original.id), None)


def test_recorded_repeats_repairs_with_their_start_points() -> None:
    old = replace(search(repairs=2), run="old")
    played = Greedy(old, Worth())
    script = []
    for outcome in (failed, failed, passed(1.0)):
        idea = ask(played)
        script.append(idea)
        played.tell(idea, outcome(idea))
    told = story(Recorded(search(script=tuple(script), repairs=2), Worth()), failed, failed)
    assert told == [("draft", None), ("draft", 1), ("draft", 2)]


def test_a_negative_number_of_repairs_is_refused() -> None:
    with pytest.raises(InputError, match="repairs"):
        search(repairs=-1)
