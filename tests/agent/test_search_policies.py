"""What each search policy is for: the beam's bottlenecks, UCT's visits and rewards, the islands' cells and migrants."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Callable
from dataclasses import replace

import pytest
from conformance.policies import Make, Worth, attempt, duplicate, failed, rejected
from conformance.searching import Play, labelled

from kernelwright.agent.policies import POLICIES
from kernelwright.agent.policies.beam import BRANCH, SLACK, WIDTH, Beam, select
from kernelwright.agent.policies.evolve import INTERVAL, Evolve, Isles, elites
from kernelwright.agent.policies.lineage import Lineage, opening
from kernelwright.agent.policies.mcts import PASSED, Mcts, descend, rewards, tree
from kernelwright.agent.policies.policy import Book, Search
from kernelwright.agent.policies.traits import Cell, cell
from kernelwright.agent.writers.playbook import space as spaces
from kernelwright.tasks.records import Attempt, Idea, IdeaStage, Kernel, Status
from kernelwright.tasks.resolve import resolve

DRAFT, REFINE = IdeaStage.DRAFT, IdeaStage.REFINE


def search(**changes: object) -> Search:
    return replace(Search(run="r", task="t", family="f", backend="cpp", budget=30), **changes)  # type: ignore[arg-type]


def name(number: int) -> str:
    return search().idea(number, DRAFT).id


def made(number: int, speedup: float | None, parent: int | None = None, bottleneck: str = "") -> Attempt:
    """Attempt ``number`` that passed, refined from ``parent``."""
    idea = search().idea(number, REFINE if parent else DRAFT, name(parent) if parent else None)
    return labelled(attempt(idea, speedup), bottleneck)


def book_of(*attempts: Attempt, **changes: object) -> Book:
    book = Book(search(**changes))
    for one in attempts:
        book.tell(one.idea, one)
    return book


# Lineage


def test_repairs_go_back_to_what_they_repair() -> None:
    broken = failed(search().idea(2, REFINE, name(1)))
    again = rejected(search().idea(3, REFINE, name(2)), Status.TIMEOUT)
    lineage = Lineage(book_of(made(1, 1.0), broken, again, made(4, 1.2, parent=3)))
    assert [lineage.start(lineage.attempts[name(n)].idea) for n in (1, 2, 3, 4)] == [None, name(1), name(1), name(1)]
    assert [i.number for i in lineage.from_start(name(1))] == [2, 3, 4]
    assert lineage.drafts() == 1


@pytest.mark.parametrize(("budget", "drafts"), [(1, 1), (6, 1), (10, 2), (15, 3), (30, 3), (300, 3)])
def test_a_small_budget_opens_with_fewer_drafts(budget: int, drafts: int) -> None:
    assert opening(budget, 3) == drafts


# Beam


def numbers(attempts: list[Attempt]) -> list[int]:
    return [a.idea.number for a in attempts]


def test_the_beam_keeps_the_fastest_of_each_bottleneck_before_the_next_fastest() -> None:
    feasible = [
        made(1, 2.0, bottleneck="memory"),
        made(2, 1.9, bottleneck="memory"),
        made(3, 1.8, bottleneck="memory"),
        made(4, 1.4, bottleneck="compute"),
        made(5, 1.2, bottleneck="latency"),
    ]
    assert numbers(select(feasible)) == [1, 4, 5]
    assert numbers(select(feasible, width=4)) == [1, 2, 4, 5]
    assert numbers(select([a for a in feasible if a.idea.number < 4])) == [1, 2, 3]


def test_a_bottleneck_keeps_no_kernel_that_is_far_too_slow() -> None:
    slow = 2.0 / SLACK - 0.01
    fast = [made(n, 2.0 - n / 100, bottleneck="memory") for n in (1, 2, 3)]
    assert numbers(select([*fast, made(4, slow, bottleneck="compute")])) == [1, 2, 3]


def test_the_members_of_the_beam_are_expanded_in_turns_and_a_newcomer_catches_up() -> None:
    policy = Beam(search(), Worth())
    start = {1: ("memory", 1.5), 2: ("compute", 1.3), 3: ("latency", 1.2)}
    parents = []
    for number in range(1, 4 + 3 * WIDTH * BRANCH):
        idea = policy.ask()
        assert idea is not None
        parents.append(idea.parent)
        label, speedup = start.get(number, ("memory", 1.0))
        if number == 9:
            label, speedup = "compute", 1.4  # takes the place of attempt 2
        policy.tell(idea, labelled(attempt(idea, speedup), label))
    assert parents[:3] == [None] * 3
    assert Counter(parents[3:9]) == {name(1): 2, name(2): 2, name(3): 2}
    assert parents[9] == name(9)
    later = Counter(parents[9:])
    assert set(later) == {name(9), name(1), name(3)}
    assert max(later.values()) - min(later.values()) <= BRANCH


def test_without_labels_it_is_a_plain_beam() -> None:
    assert numbers(select([made(n, 1.0 + n / 10) for n in range(1, 8)])) == [7, 6, 5]


# Tree search


def test_rewards_are_on_a_logarithmic_scale_above_what_was_rejected() -> None:
    found = rewards((made(1, 1.0), made(2, 2.0), made(3, 4.0), failed(search().idea(4, DRAFT)), made(5, None)))
    assert [found[name(n)] for n in range(1, 6)] == pytest.approx([PASSED, (1 + PASSED) / 2, 1.0, 0.0, PASSED])
    assert rewards((made(1, 1.0), duplicate(made(2, 3.0), name(1))))[name(2)] == 0.0
    assert set(rewards((made(1, 3.0), made(2, 3.0))).values()) == {(1 + PASSED) / 2}


def test_verdicts_are_backed_up_to_the_root() -> None:
    broken = failed(search().idea(3, REFINE, name(1)))
    root = tree(book_of(made(1, 1.0), made(2, 4.0, parent=1), broken, made(4, 2.0, parent=3)))
    (first,) = root.children
    assert (root.visits, first.visits) == (4, 4)
    middle = (1 + PASSED) / 2
    assert first.reward == root.reward == pytest.approx(PASSED + 1.0 + 0.0 + middle)
    assert [(c.attempt and c.attempt.idea.number, c.visits, c.reward) for c in first.children] == [
        (2, 1, 1.0),
        (4, 1, pytest.approx(middle)),  # the repair of 3, which is a child of what 3 refined
    ]


def test_uct_is_the_mean_reward_and_a_bonus_for_few_visits() -> None:
    root = tree(book_of(made(1, 1.0), made(2, 4.0), made(3, 2.0, parent=1)))
    slow, fast = root.children
    mean = (PASSED + (1 + PASSED) / 2) / 2
    assert slow.uct() == pytest.approx(mean + 0.25 * math.sqrt(math.log(3) / 2))
    assert fast.uct() == pytest.approx(1.0 + 0.25 * math.sqrt(math.log(3) / 1))


def test_ideas_in_flight_are_visits_without_a_reward() -> None:
    book = book_of(made(1, 4.0), made(2, 3.9), made(3, 1.0))
    before = tree(book).children[0].uct()
    assert descend(tree(book)).attempt == book.attempts[0]
    for number in (4, 5):
        book.ask(REFINE, name(1), number)
    busy = tree(book)
    assert busy.children[0].uct() < before
    assert (busy.flying, busy.children[0].flying, busy.children[0].pending) == (2, 2, 2)
    assert descend(busy).attempt == book.attempts[1]
    book.tell(book.flying[0], made(4, 5.0, parent=1))
    assert tree(book).children[0].flying == 1


def test_a_node_gets_more_children_as_its_visits_grow() -> None:
    policy = Mcts(search(), Worth())
    parents: list[str | None] = []
    for number in range(1, 31):
        idea = policy.ask()
        assert idea is not None
        parents.append(idea.parent)
        policy.tell(idea, attempt(idea, 1.0 + number / 100))
    drafts = [n for n, parent in enumerate(parents, 1) if parent is None]
    assert drafts[0] == 1
    assert len(drafts) == 5  # about the root of its visits
    assert parents[1:3] == [name(1)] * 2
    assert len({p for p in parents if p}) >= 5


def test_the_tree_visits_a_promising_branch_more_and_the_other_still() -> None:
    policy = Mcts(search(), Worth())
    branch: dict[str, int] = {}
    visits: Counter[int] = Counter()
    while (idea := policy.ask()) is not None:
        top = branch[idea.parent] if idea.parent else idea.number
        branch[idea.id] = top
        visits[top] += 1
        policy.tell(idea, attempt(idea, 3.0 if top == 1 else 1.0))
    assert visits[1] > 2 * max(count for top, count in visits.items() if top != 1)
    assert len(visits) >= 3


def test_a_branch_whose_refinements_all_fail_is_left() -> None:
    policy = Mcts(search(), Worth())
    parents: Counter[str | None] = Counter()
    while (idea := policy.ask()) is not None:
        parents[idea.parent] += 1
        good = idea.parent is None or idea.parent != name(1)
        policy.tell(idea, attempt(idea, 2.0 if idea.number == 1 else 1.5) if good else failed(idea))
    assert parents[name(1)] <= 8
    assert parents[None] <= 6
    assert parents.total() == 30


# Evolution


SOURCE = {
    "plain": "class ModelNew: ...\n",
    "threads": "lib = load(cpp='''#pragma omp parallel for''')\n" * 3,
    "lanes": "lib = load(cpp='''#pragma omp parallel for simd reduction(+:s)\n__builtin_prefetch(x)''')\n" * 3,
}


def written(number: int, speedup: float, how: str = "plain", parent: int | None = None) -> Attempt:
    one = made(number, speedup, parent)
    return replace(one, answer=replace(one.answer, kernel=Kernel(SOURCE[how], "cpp")))


def test_cells_tell_kernels_apart_by_what_they_do_not_by_their_words() -> None:
    plain, threads, lanes = (cell(written(1, 1.0, how)) for how in SOURCE)
    assert plain == Cell("", 0, 0, len("classModelNew:...").bit_length())
    assert (threads.memory, threads.parallel) == (0, 1)
    assert (lanes.memory, lanes.parallel) == (1, 3)
    assert cell(labelled(written(1, 1.0), "memory")) == plain._replace(bottleneck="memory")
    commented = written(1, 1.0)
    kernel = Kernel("# prefetch, reduction(\n// __shared__\n/* omp\nparallel */\n" + SOURCE["plain"], "cpp")
    assert cell(replace(commented, answer=replace(commented.answer, kernel=kernel))) == plain


def test_a_cell_keeps_its_fastest_and_the_older_of_equals() -> None:
    archive = elites([written(1, 1.0), written(2, 1.5), written(3, 1.5), written(4, 1.1, "lanes")])
    assert sorted(a.idea.number for a in archive.values()) == [2, 4]


def test_ideas_go_round_the_islands_and_repairs_stay_where_they_are() -> None:
    broken = failed(search().idea(2, DRAFT))
    isles = Isles(book_of(made(1, 1.0), broken, made(3, 1.0, parent=2), made(4, 1.0), made(5, 1.0, parent=1)))
    assert isles.count == 3
    members = [numbers(isles.own(island)) for island in range(3)]
    assert members == [[1, 5], [3], [4]]
    assert isles.turn() == 1
    assert [isles.drafts(island) for island in range(3)] == [1, 1, 1]


@pytest.mark.parametrize(("budget", "islands"), [(1, 1), (6, 1), (16, 2), (30, 3), (40, 5), (400, 5)])
def test_islands_are_as_many_as_the_budget_feeds(budget: int, islands: int) -> None:
    assert Isles(book_of(budget=budget)).count == islands


def test_the_best_of_each_island_migrates_to_its_neighbours_and_no_further() -> None:
    first = 5 * INTERVAL
    told = [written(n, 1.0 + n / 1000) for n in range(1, first + 1)]
    told[2] = written(3, 9.0)  # island 2
    isles = Isles(book_of(*told, budget=40))
    assert [numbers(isles.migrants(island, first)) for island in range(5)] == [[]] * 5
    came = [set(numbers(isles.migrants(island, first + 1))) for island in range(5)]
    assert [3 in numbers_ for numbers_ in came] == [False, True, False, True, False]
    assert all(len(numbers_) == 2 for numbers_ in came)
    later = Isles(book_of(*told, written(first + 2, 99.0), budget=40))  # island 1, after the migration
    assert first + 2 not in {n for island in range(5) for n in numbers(later.migrants(island, 2 * first))}
    assert 3 not in numbers(isles.migrants(4, 10 * first))  # it came to 3, and stays there


def test_islands_breed_from_their_own_until_something_migrates() -> None:
    islands = {n: (n - 1) % 3 for n in range(1, 31)}
    foreign = Counter[bool]()
    for seed in range(10):
        policy = Evolve(search(seed=seed), Worth())
        while (idea := policy.ask()) is not None:
            if idea.parent is not None:
                parent = int(idea.parent.rsplit("-", 1)[1])
                elsewhere = islands[parent] != islands[idea.number]
                assert not (elsewhere and idea.number <= 3 * INTERVAL)
                foreign[elsewhere] += 1
            else:
                assert idea.number <= 6  # two drafts an island
            policy.tell(idea, attempt(idea, 1.0 + (idea.seed % 100) / 50))
    assert 0 < foreign[True] < foreign[False]


def test_an_island_where_everything_failed_takes_from_the_others() -> None:
    policy = Evolve(search(), Worth())
    while (idea := policy.ask()) is not None and idea.number <= 9:
        policy.tell(idea, failed(idea) if idea.number % 3 == 0 else attempt(idea, 1.0))
    assert idea is not None
    assert idea.stage is REFINE
    nine = search().idea(9, REFINE)
    again = Evolve(search(), Worth())
    for number in range(1, 9):
        made_ = attempt(search().idea(number, DRAFT), 1.0)
        again.tell(made_.idea, failed(made_.idea) if number % 3 == 0 else made_)
    asked = again.ask()
    assert asked is not None
    assert (asked.number, asked.stage) == (nine.number, REFINE)


def test_elites_are_refined_more_often_the_faster_they_are() -> None:
    chosen: Counter[str | None] = Counter()
    for seed in range(200):
        policy = Evolve(search(budget=10, seed=seed), Worth())
        for one in (written(1, 3.0, "lanes"), written(2, 1.0), written(3, 2.0, "threads")):
            policy.tell(one.idea, one)
        idea = policy.ask()
        assert idea is not None
        chosen[idea.parent] += 1
    assert chosen[name(1)] > chosen[name(3)] > chosen[name(2)] > 0


# With the playbook's kind of writer: a space of parameters, mutated from the start point


SPACE = {"block": [1, 2, 4, 8, 16], "unroll": [1, 2, 4, 8], "warps": [1, 2, 4, 8], "stages": [1, 2, 3], "cache": [0, 1]}
BEST = {"block": 8, "unroll": 4, "warps": 2, "stages": 2, "cache": 1}


def cost(point: spaces.Point) -> float:
    """Smooth but for one interaction, 1 at the best of 480 points and above elsewhere."""
    steps = {key: abs(SPACE[key].index(point[key]) - SPACE[key].index(BEST[key])) for key in SPACE}
    clash = 0.5 if point["block"] * point["unroll"] > 64 else 0.0
    return 1.0 + 0.12 * steps["block"] + 0.2 * steps["unroll"] + 0.1 * steps["warps"] + 0.15 * steps["stages"] + clash


def tuner() -> Callable[[Idea], Attempt]:
    """Writes like the playbook and judges by :func:`cost`."""
    told: dict[str, tuple[spaces.Point, float]] = {}

    def outcome(idea: Idea) -> Attempt:
        start, _ = told.get(idea.parent or "", (None, 0.0))
        point = spaces.untried(SPACE, start, list(told.values()), random.Random(idea.seed))
        assert point is not None
        told[idea.id] = point, 2.0 / cost(point)
        return attempt(idea, told[idea.id][1])

    return outcome


def needed(make: Make, seed: int, budget: int = 80) -> int:
    """Attempts until a kernel within 5 % of the best."""
    play = Play(make(search(seed=seed, budget=budget), Worth()), tuner())
    play.to_the_end()
    found = [a.idea.number for a in play.told.values() if (a.speedup or 0) >= 0.95 * 2.0]
    return min(found, default=budget)


class Drafts:
    """Random search: every point is drawn anew."""

    def __init__(self, search: Search, values: object) -> None:
        self._book = Book(search)

    def ask(self) -> Idea | None:
        number = self._book.number()
        return None if number is None else self._book.ask(DRAFT, None, number)

    def tell(self, idea: Idea, attempt: Attempt) -> None:
        self._book.tell(idea, attempt)


def test_every_policy_finds_a_space_s_best_sooner_than_random_search() -> None:
    seeds = range(4)
    chance = sum(needed(Drafts, seed) for seed in seeds) / len(seeds)
    for policy in sorted(set(POLICIES) - {"recorded"}):
        mean = sum(needed(resolve("policy", policy, POLICIES), seed) for seed in seeds) / len(seeds)
        assert mean < 0.85 * chance, (policy, mean, chance)
