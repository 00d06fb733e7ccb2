"""What every search policy must do. A new policy passes by overriding the ``make`` fixture."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from kernelwright.agent.policies.policy import Policy, Search, Values
from kernelwright.tasks.records import (
    Answer,
    Assurance,
    Attempt,
    CaseTiming,
    Idea,
    IdeaStage,
    Interval,
    Kernel,
    Stage,
    Status,
    Timing,
    Verdict,
)

Make = Callable[[Search, Values], Policy]


class Worth:
    """Values that are what the test says; 0 otherwise."""

    def __init__(self, known: dict[str, float] | None = None) -> None:
        self.known = known or {}

    def q(self, stage: str, backend: str, family: str, item: str) -> float:
        return self.known.get(item, 0.0)


def attempt(idea: Idea, speedup: float | None = None, width: float = 0.0, *, passed: bool = True) -> Attempt:
    """An attempt as the judge would leave it; ``width`` is the interval's half width, relative."""
    kernel = Kernel(f"# {idea.id} {speedup}", "cpp")
    timing = None
    if speedup is not None:
        value = Interval(speedup, speedup * (1 - width), speedup * (1 + width))
        latency = Interval(100 / speedup, 99 / speedup, 101 / speedup)
        base = {"eager": Interval(100, 99, 101)}
        case = CaseTiming("t", "float32", latency, base, {"eager": value, "best": value})
        timing = Timing(latency, base, {"eager": value, "best": value}, "eager", None, (case,))
    status, stage = (Status.PASSED, Stage.TIME) if passed else (Status.INCORRECT, Stage.CORRECT)
    verdict = Verdict(status, stage, "as told", kernel.kernel_id, idea.task, Assurance.DEVICE, timing=timing)
    return Attempt(idea, Answer("text", kernel), verdict)


def failed(idea: Idea) -> Attempt:
    """An attempt that did not pass."""
    return attempt(idea, passed=False)


def rejected(idea: Idea, status: Status) -> Attempt:
    """An attempt with a status other than passed."""
    made = attempt(idea, passed=False)
    assert made.verdict is not None
    return replace(made, verdict=replace(made.verdict, status=status))


def duplicate(made: Attempt, original: str) -> Attempt:
    """``made`` as one that was not judged, since it is the same as the attempt ``original``."""
    assert made.verdict is not None
    return replace(made, verdict=replace(made.verdict, evidence={"duplicate_of": original}))


def unreadable(idea: Idea) -> Attempt:
    """An attempt without a kernel."""
    return Attempt(idea, Answer("", None, "empty answer"), None)


class PolicyConformance:
    """Subclass and override ``make``."""

    @pytest.fixture
    def make(self) -> Make:
        raise NotImplementedError

    @pytest.fixture
    def search(self) -> Search:
        search = Search(run="r", task="core/x/y", family="softmax", backend="cpp", seed=7, budget=6)
        return replace(search, script=self.drafts(search, 6))

    def play(self, policy: Policy, outcomes: Callable[[Idea], Attempt]) -> list[Idea]:
        ideas = []
        while (idea := policy.ask()) is not None:
            ideas.append(idea)
            policy.tell(idea, outcomes(idea))
        return ideas

    def test_numbers_count_from_one_and_the_budget_ends_the_search(self, make: Make, search: Search) -> None:
        policy = make(search, Worth())
        ideas = self.play(policy, failed)
        assert [i.number for i in ideas] == [1, 2, 3, 4, 5, 6]
        assert {(i.run, i.task) for i in ideas} == {("r", "core/x/y")}
        assert policy.ask() is None

    def test_no_more_ideas_in_flight_than_jobs(self, make: Make, search: Search) -> None:
        policy = make(replace(search, jobs=2), Worth())
        first, second = policy.ask(), policy.ask()
        assert first is not None
        assert second is not None
        assert policy.ask() is None
        policy.tell(second, failed(second))
        third = policy.ask()
        assert third is not None
        assert [first.number, second.number, third.number] == [1, 2, 3]

    def test_the_same_seed_asks_the_same(self, make: Make, search: Search) -> None:
        runs = [self.play(make(search, Worth()), lambda i: attempt(i, 1 + i.number / 10)) for _ in range(2)]
        assert runs[0] == runs[1]

    def test_seeds_of_ideas_differ(self, make: Make, search: Search) -> None:
        ideas = self.play(make(search, Worth()), failed)
        assert len({i.seed for i in ideas}) == len(ideas)

    @pytest.mark.parametrize("repairs", [0, 1, 2])
    def test_told_again_in_another_process_it_goes_the_same_way(self, make: Make, search: Search, repairs: int) -> None:
        def outcome(idea: Idea) -> Attempt:
            if idea.number == 1 or idea.seed % 3 == 0:
                return duplicate(failed(idea), "r-x-001") if idea.seed % 2 else failed(idea)
            return attempt(idea, 1 + (idea.seed % 5) / 10)

        search = replace(search, repairs=repairs, budget=12, script=self.drafts(search, 12))
        whole = self.play(make(search, Worth()), outcome)
        for cut in range(len(whole)):
            told = whole[:cut]
            again = make(replace(search, asked=(whole[cut],)), Worth())
            for idea in reversed(told):
                again.tell(idea, outcome(idea))
            assert again.ask() is None  # one job: the idea of the earlier process is still in flight
            again.tell(whole[cut], outcome(whole[cut]))
            assert self.play(again, outcome) == whole[cut + 1 :]

    @pytest.mark.parametrize("repairs", [0, 2])
    def test_several_in_flight_and_told_in_another_order(self, make: Make, search: Search, repairs: int) -> None:
        search = replace(search, repairs=repairs, jobs=3, budget=9, script=self.drafts(search, 9))
        one, other = make(search, Worth()), make(search, Worth())
        while ideas := self.width(one):
            assert self.width(other) == ideas
            for idea in ideas:
                one.tell(idea, failed(idea))
            for idea in reversed(ideas):
                other.tell(idea, failed(idea))
        assert other.ask() is None

    def test_unreadable_answers_count(self, make: Make, search: Search) -> None:
        assert len(self.play(make(search, Worth()), unreadable)) == 6

    def drafts(self, search: Search, n: int) -> tuple[Idea, ...]:
        return tuple(replace(search.idea(i, IdeaStage.DRAFT), run="old") for i in range(1, n + 1))

    def width(self, policy: Policy) -> list[Idea]:
        found = []
        while (idea := policy.ask()) is not None:
            found.append(idea)
        return found
