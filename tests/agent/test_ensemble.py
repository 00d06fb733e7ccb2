"""Several models as one writer: who writes what, the bandit in worlds of known odds, and runs that are left and resumed."""

from __future__ import annotations

import math
import random
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

import pytest
from conformance.writers import WriterConformance
from llm_server import LlmServer, Say, Seen
from scripted import ENGINE, kernel, reference, script

from kernelwright.agent.ensemble.bandit import Tally, choose, posterior, price, tally
from kernelwright.agent.ensemble.gains import FIRST, Outcome, cost_unit, gains
from kernelwright.agent.llm.options import ModelOptions, Price
from kernelwright.agent.run import Result, resume, start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.agent.writers.ensemble import Ensemble, is_ensemble, members_of
from kernelwright.agent.writers.fake import FakeWriter
from kernelwright.agent.writers.writer import Assignment, Writer
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.engines.engine import Job
from kernelwright.evaluator.engines.fake import FakeEngine
from kernelwright.memory.records import Context
from kernelwright.tasks.errors import BudgetSpent, Exhausted, InputError, UnknownName, WriterError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Answer, Attempt, Idea, IdeaStage, Kernel, Task, digest

BOTH = "scripted:Scripted,scripted:Rival"
World = Mapping[str, tuple[float, float, float]]
"""Member -> share of feasible attempts, mean log speedup of those, dollars an attempt."""


def outcome(
    number: int, model: str = "a", speedup: float | None = None, cost: float | None = 0.1, task: str = "t", tokens: int = 1000
) -> Outcome:
    return Outcome("r", task, number, model, speedup is not None, speedup, cost, tokens)


# What an attempt brought


def test_a_gain_is_the_log_of_the_best_after_over_the_best_before() -> None:
    told = [outcome(1), outcome(2, speedup=1.5), outcome(3, speedup=1.2), outcome(4, speedup=3.0)]
    assert list(gains(told).values()) == pytest.approx([0.0, FIRST + math.log(1.5), 0.0, math.log(2.0)])


def test_a_first_feasible_kernel_that_is_slow_counts_as_the_first_and_no_more() -> None:
    assert list(gains([outcome(1, speedup=0.5), outcome(2, speedup=0.9)]).values()) == pytest.approx([FIRST, 0.0])


def test_a_pass_without_a_timing_is_feasible() -> None:
    untimed = replace(outcome(1), feasible=True)
    assert list(gains([untimed]).values()) == pytest.approx([FIRST])


def test_tasks_and_runs_are_accounted_for_apart() -> None:
    told = [outcome(1, speedup=2.0), outcome(2, speedup=2.0, task="u"), replace(outcome(3, speedup=2.0), run="s")]
    assert list(gains(told).values()) == pytest.approx([FIRST + math.log(2.0)] * 3)


def test_costs_are_dollars_where_all_are_known_else_tokens_for_all() -> None:
    assert cost_unit([outcome(1), outcome(2, cost=0.0)]) == "dollars"
    assert cost_unit([outcome(1), outcome(2, cost=None)]) == "tokens"
    assert cost_unit([outcome(1, cost=0.0)]) == "tokens"
    assert cost_unit([outcome(1, cost=0.0, tokens=0)]) == "attempts"


@pytest.mark.parametrize("seed", range(5))
def test_another_order_of_telling_gives_the_same_tallies(seed: int) -> None:
    rng = random.Random(seed)
    told = [
        outcome(n, rng.choice("abc"), rng.choice([None, rng.uniform(0.5, 3)]), rng.random(), task)
        for task in ("t", "u")
        for n in range(1, 20)
    ]
    expected = tally(["a", "b", "c"], told)
    rng.shuffle(told)
    assert tally(["a", "b", "c"], told) == expected
    assert sum(t.attempts for t in expected.values()) == len(told)


def test_rewards_fit_a_beta_posterior_however_large_a_gain_is() -> None:
    tallies = tally(["a", "b"], [outcome(1, "a", 1e6), outcome(2, "b")])
    assert 0.99 < tallies["a"].reward < 1.0
    for one in tallies.values():
        assert min(posterior(one, tallies)) > 0


def test_what_strangers_wrote_is_nobodys_gain_and_still_the_best_so_far() -> None:
    tallies = tally(["a"], [outcome(1, "gone", 2.0), outcome(2, "a", 2.0)])
    assert tallies == {"a": Tally(1, 0.0, 0.1)}


def test_a_free_member_has_a_price() -> None:
    tallies = {"free": Tally(10, 1.0, 0.0), "paid": Tally(10, 1.0, 2.0)}
    assert 0 < price(tallies["free"], tallies) < price(tallies["paid"], tallies)
    assert price(Tally(), tallies) == pytest.approx(0.1 + 0.01)
    assert price(Tally(), {"a": Tally()}) > 0


# The bandit in worlds of known odds


def live(world: World, seed: int, tasks: int = 12, budget: int = 10) -> list[Outcome]:
    """A run of an ensemble in ``world``: the real choices on drawn outcomes."""
    members = {name: FakeWriter([""]) for name in world}
    ensemble, told = Ensemble(members, seed=seed), []
    luck = random.Random(seed)
    device = DeviceInfo("cpu", "a cpu")
    for t in range(tasks):
        task, history = Task(f"t{t}", "", "", ()), []
        for number in range(1, budget + 1):
            idea = Idea("r", task.name, number, IdeaStage.DRAFT, seed=int(digest(str(seed), task.name, str(number))[:8], 16))
            assignment = Assignment(idea, task, "cpp", device, Context(history=tuple(history)))
            attempt = drawn(idea, ensemble.choice(assignment), world, luck)
            ensemble.told(attempt)
            history.append(attempt)
            told.append(Outcome.of(attempt))
    return told


def drawn(idea: Idea, member: str, world: World, luck: random.Random) -> Attempt:
    feasible, mean, dollars = world[member]
    judged = f"passed {math.exp(luck.gauss(mean, 0.4)):.4f}" if luck.random() < feasible else "incorrect"
    answer = Answer("", Kernel(f"# judge: {judged}", "cpp"), model=member, cost_usd=dollars * luck.uniform(0.7, 1.3))
    assert answer.kernel is not None
    return Attempt(idea, answer, FakeEngine().evaluate(Job(idea.id, answer.kernel, Task(idea.task, "", "", ()))))


def shares(told: list[Outcome]) -> dict[str, float]:
    return {model: count / len(told) for model, count in Counter(o.model for o in told).items()}


def test_a_good_cheap_member_receives_most_of_the_calls() -> None:
    world = {"good": (0.6, 0.4, 0.05), "dear": (0.6, 0.4, 0.25), "bad": (0.15, 0.1, 0.05)}
    runs = [live(world, seed) for seed in range(8)]
    late = [shares(told[60:]).get("good", 0.0) for told in runs]
    assert sum(late) / len(late) > 0.75
    assert min(late) > 0.5
    assert all(set(shares(told)) == set(world) for told in runs)


def test_a_dear_member_that_alone_improves_anything_is_not_starved_by_a_cheap_useless_one() -> None:
    world = {"dear": (0.7, 0.5, 0.20), "useless": (0.0, 0.0, 0.01)}
    late = [shares(live(world, seed)[60:]).get("dear", 0.0) for seed in range(8)]
    assert sum(late) / len(late) > 0.6


def test_members_alike_are_favoured_no_more_than_chance_favours_them() -> None:
    """Over many runs each has a third of the calls, whatever its name and place; 3 standard errors are allowed."""
    world = {name: (0.5, 0.3, 0.1) for name in ("first", "second", "third")}
    runs = [shares(live(world, seed, tasks=3)) for seed in range(120)]
    for name in world:
        own = [run.get(name, 0.0) for run in runs]
        mean = sum(own) / len(own)
        error = math.sqrt(sum((x - mean) ** 2 for x in own) / (len(own) - 1) / len(own))
        assert abs(mean - 1 / 3) < 3 * error, name
        assert error < 0.03


def test_the_choice_is_drawn_by_what_is_known() -> None:
    """Before anything is known each of two is as likely; after 200 attempts of each the better one is all but sure."""
    fresh = {"a": Tally(), "b": Tally()}
    known = {"a": Tally(200, 60.0, 20.0), "b": Tally(200, 20.0, 20.0)}
    even = Counter(choose(fresh, random.Random(seed)) for seed in range(400))
    sure = Counter(choose(known, random.Random(seed)) for seed in range(400))
    assert 150 < even["a"] < 250
    assert sure["a"] == 400


# The writer


def trio(**changes: object) -> Ensemble:
    return Ensemble({m: FakeWriter([kernel("passed 1")]) for m in ("a", "b", "c")}, **changes)  # type: ignore[arg-type]


def assignment(number: int, *history: Attempt, task: str = "t", seed: int = 0) -> Assignment:
    idea = Idea("r", task, number, IdeaStage.DRAFT, seed=int(digest(str(seed), task, str(number))[:8], 16))
    return Assignment(idea, Task(task, "", "", ()), "cpp", DeviceInfo("cpu", "a cpu"), Context(history=history))


def attempt(number: int, model: str, speedup: float | None = None, task: str = "t", cost: float = 0.1) -> Attempt:
    source = f"# judge: {'incorrect' if speedup is None else f'passed {speedup}'}"
    idea, made = Idea("r", task, number, IdeaStage.DRAFT), Kernel(source, "cpp")
    verdict = FakeEngine().evaluate(Job(idea.id, made, Task(task, "", "", ())))
    return Attempt(idea, Answer("", made, model=model, cost_usd=cost), verdict)


class TestEnsemble(WriterConformance):
    @pytest.fixture
    def writer(self, tmp_path: Path) -> Writer:
        return trio()


class TestEnsembleByWeights(WriterConformance):
    @pytest.fixture
    def writer(self, tmp_path: Path) -> Writer:
        return trio(weights=(1, 2, 3))


@pytest.mark.parametrize("seed", range(6))
def test_each_member_is_tried_before_any_is_favoured(seed: int) -> None:
    ensemble = trio(seed=seed)
    first = [ensemble.choice(assignment(n)) for n in (1, 2, 3)]  # several jobs: nothing was told yet
    assert sorted(first) == ["a", "b", "c"]
    great = attempt(1, first[0], 9.0)
    ensemble.told(great)
    assert [ensemble.choice(assignment(n, great)) for n in (2, 3)] == first[1:]


def test_members_that_an_earlier_task_did_not_come_to_are_tried_first_in_the_next() -> None:
    ensemble = trio()
    first = ensemble.choice(assignment(1))
    ensemble.told(attempt(1, first, 5.0))
    rest = [ensemble.choice(assignment(n, task="u")) for n in (1, 2)]
    assert sorted([first, *rest]) == ["a", "b", "c"]


def test_the_order_of_the_trials_is_the_runs_own() -> None:
    orders = {tuple(trio(seed=seed).choice(assignment(n)) for n in (1, 2, 3)) for seed in range(40)}
    assert len(orders) == 6


def test_the_answer_says_which_member_wrote(tmp_path: Path) -> None:
    ensemble = trio()
    for number in (1, 2, 3):
        asked = assignment(number)
        assert ensemble.write(asked).model == ensemble.choice(asked)


def test_a_member_that_is_too_dear_gives_way_to_one_that_fits_and_the_budget_ends_with_the_last() -> None:
    line = kernel("passed 1")
    spent = [BudgetSpent("one more call may cost $2", "start a run with a larger budget") for _ in range(3)]
    dear, other = FakeWriter([spent[0], line]), FakeWriter([spent[1], line])
    ensemble = Ensemble({"dear": dear, "cheap": FakeWriter([line])}, weights=(1e9, 1))
    assert ensemble.choice(assignment(1)) == "dear"
    assert ensemble.write(assignment(1)).model == "cheap"
    alone = Ensemble({"a": other, "b": FakeWriter([spent[2], line])})
    with pytest.raises(BudgetSpent, match="one more call"):
        alone.write(assignment(1))


def test_a_member_that_has_nothing_more_gives_way_and_the_last_ends_the_task() -> None:
    line, spent = kernel("passed 1"), [Exhausted("every point was tried") for _ in range(3)]
    ensemble = Ensemble({"done": FakeWriter([spent[0], line]), "other": FakeWriter([line])}, weights=(1e9, 1))
    assert ensemble.choice(assignment(1)) == "done"
    assert ensemble.write(assignment(1)).model == "other"
    with pytest.raises(Exhausted, match="every point"):
        Ensemble({"a": FakeWriter([spent[1], line]), "b": FakeWriter([spent[2], line])}).write(assignment(1))
    dear = FakeWriter([BudgetSpent("one more call may cost $2"), line])
    with pytest.raises(BudgetSpent):  # a larger budget would help: this is what is said
        Ensemble({"a": FakeWriter([Exhausted("tried"), line]), "b": dear}).write(assignment(1))


def test_a_choice_knows_what_was_told_when_the_idea_was_asked_for_and_nothing_later() -> None:
    """With several jobs attempts of the task are told while the idea waits for a thread; none of them moves the choice."""
    early = [attempt(n, "abc"[n % 3], 1.0 + n / 10) for n in range(1, 4)]
    late = [attempt(n, "b", 1.5 * n) for n in range(4, 40)]
    for number in range(40, 80):
        before, after = trio(), trio()
        for one in early:
            before.told(one)
        for one in [*late, *early]:
            after.told(one)
        asked = assignment(number, *early)
        assert before.choice(asked) == after.choice(asked)


def test_what_other_tasks_told_moves_the_choice_in_whatever_order_it_came() -> None:
    told = [attempt(n, "abc"[n % 3], 1.1**n if n % 3 == 1 else None, task=f"t{n // 9}") for n in range(60)]
    one, other = trio(), trio()
    for known in told:
        one.told(known)
    for known in reversed(told):
        other.told(known)
    choices = [one.choice(assignment(n, task="new")) for n in range(1, 60)]
    assert choices == [other.choice(assignment(n, task="new")) for n in range(1, 60)]
    assert Counter(choices)["b"] > 40


def test_weights_are_shares() -> None:
    ensemble = trio(weights=(6.0, 3.0, 1.0))
    ensemble.told(attempt(1, "c", 100.0))
    found = Counter(ensemble.choice(assignment(n)) for n in range(1, 2001))
    assert found["a"] / 2000 == pytest.approx(0.6, abs=0.04)
    assert found["c"] / 2000 == pytest.approx(0.1, abs=0.03)


def test_members_are_told_and_closed_too() -> None:
    seen: list[str] = []

    class Member(FakeWriter):
        def told(self, attempt: Attempt) -> None:
            seen.append(attempt.answer.model)

        def close(self) -> None:
            seen.append("closed")

    ensemble = Ensemble({"a": Member([""]), "b": Member([""])})
    ensemble.told(attempt(1, "a"))
    ensemble.close()
    assert seen == ["a", "a", "closed", "closed"]


# From the command line's names to a run


@pytest.mark.parametrize(
    ("model", "problem"),
    [
        ("a/x,,b/y", "a name is missing"),
        ("a/x,", "a name is missing"),
        ("a/x, a/x", "names a/x twice"),
        ("a/x,exchange", "exchange cannot be one of several"),
        ("a/x,replay:r", "replay:r cannot be one of several"),
    ],
)
def test_lists_that_make_no_ensemble(model: str, problem: str) -> None:
    with pytest.raises(InputError, match=problem) as raised:
        members_of(model)
    assert raised.value.remedy


def test_which_models_are_ensembles() -> None:
    assert is_ensemble("a/x,b/y")
    assert not is_ensemble("a/x")
    assert not is_ensemble("replay:runs/a,b/recording.json")
    assert members_of("a/x , b/y") == ("a/x", "b/y")


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "home", None)


def config(*tasks: Task, **changes: object) -> RunConfig:
    names = tuple(t.name for t in tasks)
    base = RunConfig(argv=(), order=names, backend="cpp", model=BOTH, engine=ENGINE, budget=6, policy="greedy")
    return replace(base, **changes)  # type: ignore[arg-type]


def tasks(folder: Path) -> list[Task]:
    return [load_task(reference(folder, name, number)) for number, name in enumerate(("one", "two", "three"))]


def lines() -> list[str]:
    said = ["incorrect", "passed 1.2", "passed 1.1", "passed 1.9", "timeout", "passed 2.5"]
    return [kernel(judge, number) for number, judge in enumerate(said)]


def written(result: Result) -> list[str]:
    return [step.answer.model if step.answer else "nobody" for step in result.steps]


@pytest.mark.parametrize("member", ["nonsense", "missing:Writer", "llm"])
def test_an_unknown_member_is_refused_before_a_run_is_made(place: Workspace, tmp_path: Path, member: str) -> None:
    task = tasks(tmp_path)[0]
    with pytest.raises((UnknownName, WriterError), match=member):
        start(config(task, model=f"scripted:Scripted,{member}"), [task], place, Silence())
    store = place.open_store()
    assert not store.runs()
    store.close()


def test_a_run_of_two_members(place: Workspace, tmp_path: Path) -> None:
    script(place.home, *lines())
    own = tasks(tmp_path)
    result = start(config(*own), own, place, Silence())
    assert result.run.status == "finished"
    assert set(written(result)) == set(BOTH.split(","))
    assert set(written(result)[:2]) == set(BOTH.split(","))
    assert (place.home / "told").read_text().split().count(result.steps[-1].idea.id) == 2  # each member hears of each
    assert result.diversity is not None
    assert set(result.diversity.models) == set(BOTH.split(","))
    page = (place.run(result.run.id) / "report.html").read_text()
    assert "Effective diversity" in page
    assert "scripted:Rival" in page


def test_the_playbook_may_be_a_member(place: Workspace, tmp_path: Path) -> None:
    script(place.home, kernel("passed 1.5"))
    task = tasks(tmp_path)[0]
    result = start(config(task, model="scripted:Scripted,playbook", weights=(1, 50), budget=1), [task], place, Silence())
    (step,) = result.steps
    assert step.answer is not None
    assert (step.answer.model, step.answer.kernel is not None) == ("playbook", True)


def test_models_of_a_server_are_members_with_an_account_each(
    place: Workspace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two models over real HTTP, one priced ten times the other and no better: both are tried, the cheap one is preferred."""
    monkeypatch.setenv("OPENAI_API_KEY", "sk-test-0123456789")
    own = tasks(tmp_path)
    luck = random.Random(5)

    def answer(_: Seen) -> Say:
        return Say(kernel(luck.choice(["incorrect", f"passed {luck.uniform(1, 3):.2f}"]), luck.randrange(10**9)))

    prices = {"openai/cheap": Price(1.0, 1.0), "openai/dear": Price(10.0, 10.0)}
    with LlmServer(answer) as server:
        options = ModelOptions(api_base=server.url, prices=prices)
        result = start(config(*own, model="openai/cheap,openai/dear", llm=options, budget=8), own, place, Silence())
    asked, wrote = [seen.body["model"] for seen in server.seen], [name.split("/")[1] for name in written(result)]
    assert asked == wrote
    assert set(wrote[:2]) == {"cheap", "dear"}
    assert wrote.count("cheap") > 2 * wrote.count("dear") > 0
    paid = {line.model: 0.0 for line in result.ledger}
    for line in result.ledger:
        paid[line.model] += line.spent.cost_usd or 0.0
    assert paid == pytest.approx({f"openai/{m}": asked.count(m) * 3000 * p for m, p in (("cheap", 1e-6), ("dear", 1e-5))})


@pytest.mark.parametrize("weights", [(1.0,), (1.0, 0.0), (1.0, math.nan), (math.inf, 1.0), (1.0, 2.0, 3.0)])
def test_weights_that_fit_no_ensemble_of_two(weights: tuple[float, ...]) -> None:
    with pytest.raises(InputError, match="--weights"):
        config(weights=weights)


class Leaving(Silence):
    """Leaves after ``limit`` attempts."""

    def __init__(self, limit: int) -> None:
        self.limit, self.seen = limit, 0

    def stopping(self) -> bool:
        return self.seen >= self.limit

    def done(self, attempt: Attempt) -> None:
        self.seen += 1


@pytest.mark.parametrize(("jobs", "limits"), [(1, (4, 3, 5)), (3, (1, 3, 4, 2)), (3, (7,))])
def test_a_run_that_is_left_and_resumed_chooses_alike(tmp_path: Path, jobs: int, limits: tuple[int, ...]) -> None:
    own, found = tasks(tmp_path), []
    for name, stops in (("whole", ()), ("left", limits)):
        place = Workspace.at(tmp_path / name, None)
        script(place.home, *lines())
        setup = config(*own, jobs=jobs)
        result = start(setup, own, place, Leaving(stops[0]) if stops else Silence())
        for stop in stops[1:]:
            before = sum(step.learned for step in result.steps if step.idea.task not in finished(result))
            result = resume(result.run.id, place, Leaving(before + stop))
        result = resume(result.run.id, place, Silence())
        assert result.run.status == "finished"
        found.append([(s.idea.task, s.idea.number, s.answer.model if s.answer else "") for s in result.steps])
    assert found[0] == found[1]
    assert len({model for _, _, model in found[0]}) == 2


def finished(result: Result) -> set[str]:
    return {o.task for o in result.outcomes if o.status in ("improved", "solved", "unsolved")}


def test_a_resumed_run_tells_all_that_was_learned_finished_tasks_included(place: Workspace, tmp_path: Path) -> None:
    script(place.home, *lines())
    own = tasks(tmp_path)[:2]
    result = start(config(*own, model="scripted:Scripted"), own, place, Leaving(8))
    learned = [step.idea.id for step in result.steps if step.learned]
    assert (place.home / "told").read_text().split() == learned
    assert len(learned) == 8
    (place.home / "told").unlink()
    resume(result.run.id, place, Silence())
    told = (place.home / "told").read_text().split()
    assert told[:8] == learned
    assert len(told) == len(set(told)) == 12
