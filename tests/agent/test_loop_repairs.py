"""Whole runs in which kernels come twice and rejected ones are repaired."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from conformance.policies import Worth, failed
from scripted import ENGINE, MODEL, kernel, reference, script

from kernelwright.agent.parts import make_policy
from kernelwright.agent.report.view import task_view
from kernelwright.agent.run import Result, resume, start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.evaluator.engines.engine import Job
from kernelwright.evaluator.engines.fake import FakeEngine
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Attempt, Task, Verdict


class Until(Silence):
    """Stops the run after ``limit`` attempts."""

    def __init__(self, limit: int) -> None:
        self.left = limit

    def stopping(self) -> bool:
        return self.left <= 0

    def done(self, attempt: Attempt) -> None:
        self.left -= 1


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "home", None)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return load_task(reference(tmp_path))


def config(task: Task, **changes: object) -> RunConfig:
    base = RunConfig(argv=(), order=(task.name,), backend="cpp", model=MODEL, engine=ENGINE, budget=3, policy="greedy")
    return replace(base, **changes)  # type: ignore[arg-type]


class Counting(FakeEngine):
    """Remembers, over all processes of a test, what it was asked to judge."""

    seen: list[str] = []  # noqa: RUF012  one list a test: cleared by its fixture

    def evaluate(self, job: Job) -> Verdict:
        Counting.seen.append(job.id)
        return super().evaluate(job)


@pytest.fixture
def counting(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    Counting.seen = []
    monkeypatch.setattr("kernelwright.evaluator.engines.fake.FakeEngine", Counting)
    return Counting.seen


def renamed(judge: str) -> str:
    return kernel(judge).replace("forward(self, x)", "forward(self, inp)").replace("return x", "return inp  # the same")


def parents(result: Result) -> list[int | None]:
    return [int(s.idea.parent.rsplit("-", 1)[1]) if s.idea.parent else None for s in result.steps]


def test_the_same_kernel_is_not_judged_twice(place: Workspace, task: Task, counting: list[str]) -> None:
    good, bad = kernel("passed 1.2"), kernel("incorrect")
    script(place.home, good, renamed("passed 1.2"), good, bad, bad)
    result = start(config(task, budget=5, repairs=0), [task], place, Silence())
    ids = [step.idea.id for step in result.steps]
    assert [i for i in counting if "audit" not in i] == [ids[0], ids[3]]
    verdicts = [step.verdict for step in result.steps]
    assert [v and v.evidence.get("duplicate_of") for v in verdicts] == [None, ids[0], ids[0], None, ids[3]]
    assert [v and v.status.value for v in verdicts] == ["passed"] * 3 + ["incorrect"] * 2
    assert [v and v.speedup for v in verdicts[:3]] == [verdicts[0] and verdicts[0].speedup] * 3
    assert verdicts[1] is not None
    assert "attempt 1" in verdicts[1].reason
    (outcome,) = result.outcomes
    assert (outcome.attempts, outcome.best) == (5, ids[0])
    assert parents(result) == [None, 1, 1, 1, 1], "a duplicate is no start point"
    assert [a.duplicate_of for a in result.steps[4].context.history] == [None, ids[0], ids[0], None]


def test_memory_takes_a_duplicate_in_once(place: Workspace, task: Task) -> None:
    def held(*lines: str) -> tuple[object, ...]:
        other = Workspace.at(place.home / str(len(lines)), None)
        script(other.home, *lines)
        start(config(task, budget=len(lines), repairs=0), [task], other, Silence())
        memory = other.open_memory()
        try:
            return memory.stats().kinds["trace"], memory.stats().kinds["success"]
        finally:
            memory.close()

    assert held(kernel("passed 1.2")) == held(kernel("passed 1.2"), renamed("passed 1.2"), kernel("passed 1.2"))


def test_a_duplicates_verdict_survives_an_interruption(place: Workspace, task: Task, counting: list[str]) -> None:
    lines = (kernel("passed 1.2"), renamed("passed 1.2"), kernel("passed 1.5", 2), kernel("passed 1.2"))
    script(place.home, *lines)
    first = start(config(task, budget=4), [task], place, Until(2))
    then = resume(first.run.id, place, Silence())
    ids = [step.idea.id for step in then.steps]
    assert [i for i in counting if "audit" not in i] == [ids[0], ids[2]]
    assert [s.attempt and s.attempt.duplicate_of for s in then.steps] == [None, ids[0], None, ids[0]]
    assert then.outcomes[0].best == ids[2]


def test_duplicates_written_at_once_are_judged_once(place: Workspace, task: Task) -> None:
    script(place.home, kernel("incorrect"))
    attempts = [step.attempt for step in start(config(task, jobs=3), [task], place, Silence()).steps]
    assert [a and a.duplicate_of for a in attempts] == [None, *[attempts[0] and attempts[0].id] * 2]


def test_a_rejected_draft_is_repaired_with_its_kernel_as_the_start_point(place: Workspace, task: Task) -> None:
    rejected = [kernel(judge, n) for n, judge in enumerate(("incorrect", "timeout", "incorrect", "build_failed"), 1)]
    script(place.home, *rejected, kernel("passed 1.2", 5), kernel("passed 1.5", 6))
    result = start(config(task, budget=6), [task], place, Silence())
    assert parents(result) == [None, 1, 2, None, 4, 5]
    assert [s.idea.stage.value for s in result.steps] == ["draft"] * 5 + ["refine"]
    shown = task_view(task, "finished", result.steps, result.outcomes[0])
    assert [a.stage for a in shown.attempts] == ["draft", "repair", "repair", "draft", "repair", "refine"]
    begun = result.steps[1].context.start
    assert begun is not None
    assert begun.status == "incorrect"
    assert result.outcomes[0].best == result.steps[5].idea.id


def test_a_repair_goes_on_after_an_interruption(place: Workspace, task: Task) -> None:
    lines = (kernel("incorrect"), kernel("timeout", 2), kernel("incorrect", 3), kernel("passed 1.2", 5))
    for limit in (1, 2, 3):
        home = Workspace.at(place.home / str(limit), None)
        script(home.home, *lines)
        first = start(config(task, budget=4), [task], home, Until(limit))
        assert parents(resume(first.run.id, home, Silence())) == [None, 1, 2, None]


def test_without_repairs_every_draft_is_new(place: Workspace, task: Task) -> None:
    script(place.home, kernel("incorrect"), kernel("timeout", 2), kernel("incorrect", 3))
    assert parents(start(config(task, repairs=0), [task], place, Silence())) == [None, None, None]


def test_the_playbook_is_asked_for_no_repairs(place: Workspace, task: Task) -> None:
    policy = make_policy(config(task, model="playbook"), "r", task, (), Worth(), place)
    for _ in range(2):
        idea = policy.ask()
        assert idea is not None
        assert idea.parent is None
        policy.tell(idea, failed(idea))


def test_a_replay_repeats_repairs_and_duplicates(place: Workspace, task: Task) -> None:
    script(place.home, kernel("incorrect"), kernel("passed 1.2", 2), kernel("passed 1.2", 2), kernel("incorrect", 3))
    result = start(config(task, budget=4), [task], place, Silence())
    assert parents(result) == [None, 1, 2, 2]
    again = start(config(task, budget=4, model=f"replay:{result.run.id}", policy="recorded"), [task], place, Silence())
    assert parents(again) == parents(result)
    assert [s.verdict for s in again.steps] == [s.verdict for s in result.steps], "as recorded, the original's id too"
