"""What every policy must do that chooses for itself (one that repeats a recording does not): in worlds drawn at random,
with several ideas in flight, told in any order, and taken up by another process at any moment."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from dataclasses import replace

import pytest
from conformance.policies import (
    Make,
    PolicyConformance,
    Worth,
    attempt,
    duplicate,
    failed,
    rejected,
    unreadable,
)

from kernelwright.agent.policies.policy import REPAIRABLE, Policy, Search
from kernelwright.tasks.records import Attempt, Idea, IdeaStage, Status

World = Callable[[Idea], Attempt]
BOTTLENECKS = ("memory", "compute", "latency", "")


def world(seed: int, passing: float = 0.6) -> World:
    """Verdicts drawn from the idea's seed: passed (slow, fast, untimed), rejected in every way, unreadable, the same again."""

    def outcome(idea: Idea) -> Attempt:
        rng = random.Random(f"{seed} {idea.seed}")
        if rng.random() >= passing:
            made = unreadable(idea) if rng.random() < 0.2 else rejected(idea, rng.choice(list(Status)[1:]))
        else:
            made = labelled(attempt(idea, rng.choice([None, *(0.5 + n / 4 for n in range(8))])), rng.choice(BOTTLENECKS))
        if made.verdict is not None and idea.number > 1 and rng.random() < 0.15:
            original = replace(idea, number=rng.randrange(1, idea.number)).id
            return duplicate(made, original)
        return made

    return outcome


def labelled(made: Attempt, bottleneck: str) -> Attempt:
    """``made`` with a measured bottleneck."""
    assert made.verdict is not None
    return replace(made, verdict=replace(made.verdict, evidence={**made.verdict.evidence, "bottleneck": bottleneck}))


class Play:
    """A policy at work with ``jobs`` ideas in flight that are told in an order drawn from ``seed``."""

    def __init__(self, policy: Policy, outcome: World, seed: int = 0) -> None:
        self.policy, self.outcome = policy, outcome
        self.rng = random.Random(seed)
        self.flying: list[Idea] = []
        self.told: dict[str, Attempt] = {}
        self.asked: list[Idea] = []

    def ask(self) -> Idea | None:
        """The next idea, which is then in flight."""
        idea = self.policy.ask()
        if idea is not None:
            self.flying.append(idea)
            self.asked.append(idea)
        return idea

    def tell(self) -> None:
        """Tell one of those in flight."""
        idea = self.flying.pop(self.rng.randrange(len(self.flying)))
        made = self.outcome(idea)
        self.told[idea.id] = made
        self.policy.tell(idea, made)

    def to_the_end(self) -> list[Idea]:
        """All ideas until the search has ended."""
        while True:
            while self.ask() is not None:
                pass
            if not self.flying:
                return self.asked
            self.tell()


class SearchConformance(PolicyConformance):
    """Subclass and override ``make``."""

    @pytest.fixture
    def wide(self, search: Search) -> Search:
        return replace(search, budget=14, jobs=3, repairs=1)

    @pytest.mark.parametrize("jobs", [1, 3, 20])
    @pytest.mark.parametrize("seed", [1, 2])
    def test_the_budget_is_used_up_and_no_more(self, make: Make, wide: Search, jobs: int, seed: int) -> None:
        asked = Play(make(replace(wide, jobs=jobs), Worth()), world(seed), seed).to_the_end()
        assert sorted(idea.number for idea in asked) == list(range(1, 15))
        assert len({idea.id for idea in asked}) == 14

    @pytest.mark.parametrize("repairs", [0, 2])
    @pytest.mark.parametrize("seed", range(6))
    def test_start_points_have_been_told_and_are_worth_starting_from(
        self, make: Make, wide: Search, seed: int, repairs: int
    ) -> None:
        play = Play(make(replace(wide, repairs=repairs, budget=24), Worth()), world(seed), seed)
        while (idea := play.ask()) is not None or play.flying:
            if idea is None:
                play.tell()
                continue
            if idea.parent is None:
                assert idea.stage is IdeaStage.DRAFT
                continue
            start = play.told[idea.parent]  # KeyError: it was in flight, or never asked for
            assert start.duplicate_of is None
            if start.feasible:
                assert idea.stage is IdeaStage.REFINE
            else:
                assert repairs
                assert start.status in REPAIRABLE
                assert idea.stage is start.idea.stage

    @pytest.mark.parametrize("seed", range(4))
    def test_another_process_goes_on_at_any_moment_whatever_the_order_of_telling(
        self, make: Make, wide: Search, seed: int
    ) -> None:
        play, rng = Play(make(wide, Worth()), world(seed), seed), random.Random(seed)
        while True:
            again = make(replace(wide, asked=tuple(play.flying)), Worth())
            for made in rng.sample(list(play.told.values()), len(play.told)):
                again.tell(made.idea, made)
            expected = again.ask()
            assert play.ask() == expected
            if expected is None:
                if not play.flying:
                    return
                play.tell()

    @pytest.mark.parametrize("jobs", [1, 4])
    @pytest.mark.parametrize(
        "outcome",
        [failed, unreadable, *(lambda idea, s=s: rejected(idea, s) for s in list(Status)[1:])],
        ids=["failed", "unreadable", *(s.value for s in list(Status)[1:])],
    )
    def test_where_nothing_passes_it_drafts_and_repairs_to_the_end(
        self, make: Make, wide: Search, outcome: World, jobs: int
    ) -> None:
        asked = Play(make(replace(wide, jobs=jobs), Worth()), outcome).to_the_end()
        assert len(asked) == 14
        assert {idea.stage for idea in asked} == {IdeaStage.DRAFT}

    def test_where_everything_is_the_same_again_only_the_first_is_a_start_point(self, make: Make, wide: Search) -> None:
        first = replace(wide.idea(1, IdeaStage.DRAFT)).id
        outcome = lambda i: attempt(i, 1.5) if i.number == 1 else duplicate(attempt(i, 9.0), first)  # noqa: E731
        asked = Play(make(wide, Worth()), outcome).to_the_end()
        assert len(asked) == 14
        assert {idea.parent for idea in asked} <= {None, first}
        assert sum(idea.parent == first for idea in asked) >= 5

    def test_kernels_without_a_timing_are_refined_too(self, make: Make, wide: Search) -> None:
        asked = Play(make(wide, Worth()), attempt).to_the_end()
        assert sum(idea.stage is IdeaStage.REFINE for idea in asked) >= 7

    @pytest.mark.parametrize("jobs", [1, 3])
    def test_patience_ends_the_search(self, make: Make, wide: Search, jobs: int) -> None:
        wide = replace(wide, budget=100, patience=8, jobs=jobs, repairs=0)
        asked = Play(make(wide, Worth()), lambda idea: attempt(idea, 1.0)).to_the_end()
        assert 9 <= len(asked) <= 8 + jobs

    def test_the_target_ends_the_search(self, make: Make, wide: Search) -> None:
        asked = Play(make(replace(wide, target=2.0), Worth()), lambda i: attempt(i, 2.5 if i.number > 5 else 1.0)).to_the_end()
        assert 6 <= len(asked) <= 8

    @pytest.mark.parametrize("seed", [3, 4])
    def test_one_seed_is_one_search(self, make: Make, wide: Search, seed: int) -> None:
        one, same = (Play(make(replace(wide, seed=seed), Worth()), world(9), 5).to_the_end() for _ in range(2))
        assert one == same
        other = Play(make(replace(wide, seed=seed + 10), Worth()), world(9), 5).to_the_end()
        assert [i.seed for i in one] != [i.seed for i in other]

    def test_a_long_search_stays_quick(self, make: Make, wide: Search) -> None:
        began = time.monotonic()
        Play(make(replace(wide, budget=150), Worth()), world(1, 0.9)).to_the_end()
        assert time.monotonic() - began < 20  # half a second; more where the machine is busy
