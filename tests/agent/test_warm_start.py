"""Warm starts and whole runs by every policy: a real store and memory, a scripted writer and the fake engine."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from scripted import ENGINE, MODEL, kernel, reference, script

from kernelwright.agent.bench.plan import Plan
from kernelwright.agent.llm.options import Limits
from kernelwright.agent.policies import POLICIES
from kernelwright.agent.run import Result, resume, start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.warm import MODEL as COPIED
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.memory.starts import apart, starting_points
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Attempt, IdeaStage, Task

SEARCHING = sorted(set(POLICIES) - {"recorded"})


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "home", None)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return replace(load_task(reference(tmp_path)), family="addition")


def config(*tasks: Task, **changes: object) -> RunConfig:
    order = tuple(t.name for t in tasks)
    base = RunConfig((), order, "cpp", MODEL, engine=ENGINE, budget=3, policy="greedy", repairs=0)
    return replace(base, **changes)  # type: ignore[arg-type]


def resized(task: Task, rows: int, name: str) -> Task:
    """A neighbour: the same family at another size."""
    return replace(task, name=name, source=task.source.replace("N = 64", f"N = {rows}"))


class Stop(Silence):
    """Stops after some attempts."""

    def __init__(self, after: int) -> None:
        self.left = after

    def stopping(self) -> bool:
        return self.left <= 0

    def done(self, attempt: Attempt) -> None:
        self.left -= 1


def went(result: Result) -> list[tuple[object, ...]]:
    """What is the same in two runs that went the same way."""
    ideas = [s.idea for s in result.steps]
    parents = [i.parent and i.parent.rsplit("-", 1)[1] for i in ideas]
    statuses = [s.attempt.status if s.attempt else "" for s in result.steps]
    return [(i.number, i.stage, i.seed, p, s) for i, p, s in zip(ideas, parents, statuses, strict=True)]


LINES = [
    kernel("incorrect"),
    kernel("passed 1.2", 1),
    "nothing to read",
    kernel("passed 1.5", 2),
    kernel("passed 1.5", 2),
    kernel("timeout", 3),
    kernel("passed 1.8", 4),
]


@pytest.mark.parametrize("policy", SEARCHING)
def test_an_interrupted_run_ends_as_if_nothing_had_happened(place: Workspace, task: Task, tmp_path: Path, policy: str) -> None:
    asked = config(task, policy=policy, budget=7, jobs=2, repairs=1)
    script(place.home, *LINES)
    cut = start(asked, [task], place, Stop(3))
    assert cut.run.status == "interrupted"
    then = resume(cut.run.id, place, Silence())
    other = Workspace.at(tmp_path / "other", None)  # a memory of its own: values learned in one run count in the next
    script(other.home, *LINES)
    whole = start(asked, [task], other, Silence())
    assert went(then) == went(whole)
    assert len(then.steps) == 7
    assert [o.status for o in then.outcomes] == ["improved"]
    page = (other.run(whole.run.id) / "report.html").read_text()
    edges = sum(step.idea.parent is not None for step in whole.steps)
    assert page.count('class="edge"') == edges > 0  # the attempt graph is drawn, whatever the policy


def test_the_same_task_starts_from_its_earlier_kernels_judged_anew(place: Workspace, task: Task) -> None:
    script(place.home, kernel("passed 1.2", 1), kernel("passed 1.5", 2), kernel("incorrect", 3))
    first = start(config(task), [task], place, Silence())
    script(place.home, *["never asked"] * 2, kernel("passed 2", 4), kernel("passed 1.1", 5))
    judged = place.home / "asked"
    before = judged.read_text()
    warm = start(config(task, budget=4, warm_start=True), [task], place, Silence())
    one, two, three, _ = warm.steps
    assert one.answer is not None
    assert two.answer is not None
    assert (one.answer.model, one.answer.cost_usd, one.context.items) == (COPIED, 0.0, ())
    assert one.answer.kernel == first.steps[1].answer.kernel  # type: ignore[union-attr]
    assert two.answer.kernel == first.steps[0].answer.kernel  # type: ignore[union-attr]
    assert one.answer.strategy.startswith(f"copied from attempt {first.steps[1].idea.id}")
    assert one.verdict is not None
    assert one.verdict.evidence.get("duplicate_of") is None
    assert (three.idea.stage, three.idea.parent) == (IdeaStage.REFINE, one.idea.id)
    assert judged.read_text().removeprefix(before).split() == [s.idea.id for s in warm.steps[2:]]
    assert warm.outcomes[0].best == three.idea.id


def test_an_old_figure_never_counts(place: Workspace, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    from kernelwright.evaluator.engines.engine import Job
    from kernelwright.evaluator.engines.fake import FakeEngine
    from kernelwright.tasks.records import Status, Verdict

    script(place.home, kernel("passed 9"))
    start(config(task, budget=1), [task], place, Silence())
    judge = FakeEngine.evaluate

    def stricter(self: FakeEngine, job: Job) -> Verdict:
        verdict = judge(self, job)
        return replace(verdict, status=Status.INCORRECT, timing=None) if "passed 9" in job.kernel.source else verdict

    monkeypatch.setattr(FakeEngine, "evaluate", stricter)
    script(place.home, "", kernel("passed 1.3", 1))
    result = start(config(task, budget=2, warm_start=True), [task], place, Silence())
    assert [s.attempt and s.attempt.status for s in result.steps] == ["incorrect", "passed"]
    assert result.outcomes[0].best == result.steps[1].idea.id


def test_neighbours_come_by_shape_and_without_a_point_of_the_playbooks_space(place: Workspace, task: Task) -> None:
    near, far = resized(task, 128, "near"), resized(task, 4096, "far")
    stranger = replace(resized(task, 65, "stranger"), family="other")
    script(place.home, kernel("passed 1.2", 1))
    for number, other in enumerate((far, near, stranger)):
        script(place.home, kernel("passed 1.2", number))
        start(config(other, budget=1), [other], place, Silence())
    result = start(config(task, budget=4, warm_start=True), [task], place, Silence())
    told = [s.answer.strategy for s in result.steps if s.answer and s.answer.model == COPIED]
    assert [line.rsplit(" on ", 1)[1] for line in told] == ["near", "far"]
    assert apart(task, near) < apart(task, far)
    assert apart(task, task) == 0


def test_a_plain_file_has_no_neighbours_and_the_budget_keeps_half(place: Workspace, task: Task) -> None:
    plain, other = (replace(t, family="custom") for t in (task, resized(task, 128, "other")))
    script(place.home, *(kernel("untimed", n) for n in range(1, 9)))
    start(config(other, budget=1), [other], place, Silence())
    assert copied(start(config(plain, budget=4, warm_start=True), [plain], place, Silence())) == 0
    assert copied(start(config(plain, budget=5, warm_start=True), [plain], place, Silence())) == 2
    assert copied(start(config(plain, budget=9, warm_start=True), [plain], place, Silence())) == 3


def copied(result: Result) -> int:
    return sum(s.answer is not None and s.answer.model == COPIED for s in result.steps)


def test_what_is_excluded_is_no_start_under_any_name(place: Workspace, task: Task) -> None:
    twin, near = replace(task, name="library/x/twin"), resized(task, 128, "library/x/near")
    script(place.home, kernel("untimed", 1))
    for other in (task, twin, near):
        start(config(other, budget=1), [other], place, Silence())
    warm = config(task, budget=4, warm_start=True)
    assert copied(start(replace(warm, memory_exclude=(task.name, "near")), [task], place, Silence())) == 0
    assert copied(start(replace(warm, memory_exclude=("twin", "near")), [task], place, Silence())) == 0
    assert copied(start(replace(warm, memory_exclude=("twin",)), [task], place, Silence())) == 1


def test_samples_of_a_bench_start_from_nothing_of_its_tasks(place: Workspace, task: Task) -> None:
    script(place.home, kernel("untimed", 1))
    start(config(task, budget=1), [task], place, Silence())
    plan = Plan("b", "now", "mine", config(task, budget=4, warm_start=True), (task,))
    (part,) = plan.parts()
    assert copied(start(plan.configured(part, Limits()), [task], place, Silence())) == 0


def test_a_resumed_run_has_the_starts_that_it_began_with(place: Workspace, task: Task) -> None:
    script(place.home, kernel("passed 1.2", 1))
    start(config(task, budget=1), [task], place, Silence())
    script(place.home, "", kernel("passed 1.3", 2), kernel("passed 1.4", 3), kernel("passed 1.5", 4))
    cut = start(config(task, budget=4, warm_start=True), [task], place, Stop(1))
    script(place.home, *(kernel(f"passed 5.{n}", 10 + n) for n in range(4)))
    start(config(task), [task], place, Silence())  # faster ones, meanwhile
    then = resume(cut.run.id, place, Silence())
    assert copied(then) == 1
    assert then.steps[0].answer == cut.steps[0].answer


def test_starts_are_of_this_backend_and_device_and_other_runs(place: Workspace, task: Task) -> None:
    script(place.home, kernel("untimed", 1))
    run = start(config(task, budget=1), [task], place, Silence()).run.id
    store = place.open_store()
    try:
        assert [a.idea.run for a in starting_points(store, task, "cpp", "fake device")] == [run]
        for where in (("triton", "fake device", ""), ("cpp", "another", ""), ("cpp", "fake device", run)):
            assert list(starting_points(store, task, *where)) == []
    finally:
        store.close()


def test_a_replay_has_no_other_start_than_its_recording(task: Task) -> None:
    with pytest.raises(InputError, match="warm-start"):
        config(task, model="replay:x", warm_start=True)
