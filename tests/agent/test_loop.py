"""The loop over a real store and memory, with a scripted writer and the fake engine."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from scripted import ENGINE, MODEL, kernel, reference, script

from kernelwright.agent.loop import Parts, search
from kernelwright.agent.policies.greedy import Greedy
from kernelwright.agent.policies.policy import Search
from kernelwright.agent.run import Result, report, resume, start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.agent.writers.fake import FakeWriter
from kernelwright.agent.writers.writer import Assignment
from kernelwright.evaluator.engines.fake import FakeEngine
from kernelwright.memory.records import RunRecord, TaskOutcome
from kernelwright.tasks.errors import Exhausted, HarnessError, InputError, Pending, UnknownName, WriterError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Answer, Attempt, Task


class Looker(Silence):
    """Stops after ``limit`` attempts, and remembers what it saw."""

    def __init__(self, limit: int | None = None) -> None:
        self.limit = limit
        self.attempts: list[Attempt] = []
        self.outcomes: list[TaskOutcome] = []

    def stopping(self) -> bool:
        return self.limit is not None and len(self.attempts) >= self.limit

    def done(self, attempt: Attempt) -> None:
        self.attempts.append(attempt)

    def outcome(self, outcome: TaskOutcome) -> None:
        self.outcomes.append(outcome)


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "home", None)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return load_task(reference(tmp_path))


def config(*tasks: Task, **changes: object) -> RunConfig:
    base = RunConfig(
        argv=(), order=tuple(t.name for t in tasks), backend="cpp", model=MODEL, engine=ENGINE, budget=3, policy="greedy"
    )
    return replace(base, **changes)  # type: ignore[arg-type]


def statuses(result: Result) -> list[str]:
    return [step.attempt.status if step.attempt else "in flight" for step in result.steps]


def asked(place: Workspace) -> list[str]:
    return (place.home / "asked").read_text().split()


def test_a_run_from_draft_to_winner(place: Workspace, task: Task) -> None:
    script(place.home, "no kernel here", kernel("passed 1.2"), kernel("passed 1.5", 2))
    result = start(config(task), [task], place, Silence())
    assert statuses(result) == ["unreadable", "passed", "passed"]
    assert result.run.status == "finished"
    (outcome,) = result.outcomes
    assert (outcome.status, outcome.attempts, outcome.best) == ("improved", 3, result.steps[2].idea.id)
    assert outcome.cost_usd == pytest.approx(0.75)
    assert outcome.verdict is not None
    assert outcome.verdict.timing is not None
    assert outcome.verdict.timing.processes == 3
    best = place.best(result.run.id, task)
    assert "# judge: passed 1.5" in (best / "kernel.py").read_text()
    assert json.loads((best / "verdict.json").read_text())["timing"]["processes"] == 3
    assert json.loads((best / "evidence.json").read_text())["attempt"]["number"] == 3
    assert "<svg" in (place.run(result.run.id) / "report.html").read_text()
    assert [s.learned for s in result.steps] == [True, True, True]
    assert result.steps[2].idea.parent == result.steps[1].idea.id
    assert result.steps[2].context.start is not None


@pytest.mark.parametrize(
    ("judge", "status"),
    [("passed 2", "improved"), ("passed 1.0", "solved"), ("untimed", "solved"), ("incorrect", "unsolved")],
)
def test_outcomes(place: Workspace, task: Task, judge: str, status: str) -> None:
    script(place.home, kernel(judge))
    (outcome,) = start(config(task, budget=1), [task], place, Silence()).outcomes
    assert outcome.status == status
    assert outcome.reason


def test_an_unsolved_task_says_what_happened(place: Workspace, task: Task) -> None:
    script(place.home, kernel("incorrect"), "nothing", kernel("timeout"))
    (outcome,) = start(config(task), [task], place, Silence()).outcomes
    assert "1 incorrect" in outcome.reason
    assert "1 unreadable" in outcome.reason
    assert "1 timeout" in outcome.reason
    assert outcome.verdict is None


def test_a_refused_task_stops_nobody(place: Workspace, task: Task, tmp_path: Path) -> None:
    bad = replace(task, name="bad", source=task.source + "\n# admit: its forward is random\n")
    script(place.home, kernel("passed 2"))
    result = start(
        config(bad, task, budget=1, order=("bad", "gone.py", task.name), refused={"gone.py": "no get_inputs"}),
        [bad, task],
        place,
        Silence(),
    )
    assert [(o.task, o.status) for o in result.outcomes] == [
        ("bad", "refused"),
        ("gone.py", "refused"),
        (task.name, "improved"),
    ]
    assert "its forward is random" in result.outcomes[0].reason
    assert result.outcomes[1].reason == "no get_inputs"
    assert result.run.status == "finished"


def test_a_run_of_nothing_but_refusals_finishes(place: Workspace) -> None:
    result = start(config(order=("x.py",), refused={"x.py": "does not parse"}), [], place, Silence())
    assert result.run.status == "finished"
    assert [o.status for o in result.outcomes] == ["refused"]


def test_interrupted_runs_go_on_and_end_as_if_nothing_had_happened(place: Workspace, task: Task, tmp_path: Path) -> None:
    lines = (kernel("incorrect"), kernel("passed 1.2"), kernel("passed 1.5", 2), kernel("passed 1.1", 3))
    script(place.home, *lines)
    first = start(config(task, budget=4), [task], place, Looker(limit=2))
    assert first.run.status == "interrupted"
    assert len(first.steps) == 2
    assert "interrupted after 2" in first.outcomes[0].reason
    then = resume(first.run.id, place, Silence())
    assert then.run.status == "finished"
    other = Workspace.at(tmp_path / "other", None)
    script(other.home, *lines)
    whole = start(config(task, budget=4), [task], other, Silence())

    def shape(result: Result) -> list[tuple[object, ...]]:
        parents = [s.idea.parent and s.idea.parent.rsplit("-", 1)[1] for s in result.steps]
        return [(s.idea.number, s.idea.stage, s.idea.seed, p) for s, p in zip(result.steps, parents, strict=True)]

    assert shape(then) == shape(whole)
    assert asked(place) == [s.idea.id for s in then.steps]  # nothing was asked twice
    assert resume(first.run.id, place, Silence()).outcomes == then.outcomes


def test_a_writer_that_cannot_work_stops_the_run_and_keeps_what_was_measured(place: Workspace, task: Task) -> None:
    script(place.home, kernel("passed 1.2"), "!writer")
    with pytest.raises(WriterError):
        start(config(task), [task], place, Silence())
    (run,) = stored(place)
    assert run.status == "interrupted"
    script(place.home, kernel("never asked again"), kernel("passed 1.5", 2), kernel("passed 1.1", 3))
    result = resume(run.id, place, Silence())
    assert statuses(result) == ["passed", "passed", "passed"]
    assert asked(place).count(result.steps[0].idea.id) == 1


def test_a_broken_harness_stops_the_run_and_asks_no_writer_again(place: Workspace, task: Task) -> None:
    script(place.home, kernel("passed 1.2"), kernel("broken"))
    with pytest.raises(HarnessError):
        start(config(task), [task], place, Silence())
    (run,) = stored(place)
    assert run.status == "interrupted"
    with pytest.raises(HarnessError):
        resume(run.id, place, Silence())
    assert len(asked(place)) == 2
    assert (place.home / "closed").exists()


def stored(place: Workspace) -> tuple[RunRecord, ...]:
    store = place.open_store()
    try:
        return store.runs()
    finally:
        store.close()


def test_waiting_ideas_let_others_go_on(place: Workspace, task: Task, tmp_path: Path) -> None:
    other = load_task(reference(tmp_path, "other", 2))
    script(place.home, "!pending", kernel("passed 1.2"), kernel("passed 1.5", 2))
    result = start(config(task, other, jobs=2), [task, other], place, Silence())
    assert result.run.status == "waiting"
    assert [o.status for o in result.outcomes] == ["waiting", "waiting"]
    assert statuses(result) == ["in flight", "passed", "passed"] * 2
    assert "1 attempts wait for answers" in result.outcomes[0].reason
    script(place.home, kernel("passed 3", 9))
    then = resume(result.run.id, place, Silence())
    assert then.run.status == "finished"
    assert then.outcomes[0].best == then.steps[0].idea.id


def test_a_verdict_that_comes_later_is_not_judged_again(place: Workspace, task: Task) -> None:
    script(place.home, kernel("pending"))
    result = start(config(task, budget=1), [task], place, Silence())
    assert result.outcomes[0].status == "waiting"
    assert "verdicts" in result.outcomes[0].reason
    step = result.steps[0]
    assert step.answer is not None
    assert step.answer.kernel is not None
    passed = FakeEngine().evaluate
    store = place.open_store()
    from kernelwright.evaluator.engines.engine import Job
    from kernelwright.tasks.records import Kernel

    verdict = passed(Job("x", Kernel("# judge: passed 2", "cpp"), task))
    store.judge(step.idea.id, replace(verdict, kernel_id=step.answer.kernel.kernel_id))
    store.close()
    then = resume(result.run.id, place, Silence())
    assert then.outcomes[0].status == "improved"
    assert "one process" in then.outcomes[0].reason  # its audit is pending too
    assert asked(place) == [step.idea.id]


def test_a_winner_that_fails_its_audit_gives_way(place: Workspace, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    script(place.home, kernel("passed 1.2"), kernel("passed 2", 2))
    judged = FakeEngine.evaluate

    def flaky(self: FakeEngine, job: object) -> object:
        verdict = judged(self, job)  # type: ignore[arg-type]
        if job.id.endswith("002-audit2"):  # type: ignore[attr-defined]
            from kernelwright.tasks.records import Status

            return replace(verdict, status=Status.INCORRECT, timing=None, reason="a race")
        return verdict

    monkeypatch.setattr(FakeEngine, "evaluate", flaky)
    result = start(config(task, budget=2), [task], place, Silence())
    (outcome,) = result.outcomes
    assert outcome.best == result.steps[0].idea.id
    assert "was incorrect in the audit: a race" in outcome.reason


def test_a_memory_error_that_only_the_audit_looks_for_revokes_the_verdict(place: Workspace, task: Task) -> None:
    script(place.home, kernel("passed 1.2"), kernel("leaky; passed 2", 2))
    result = start(config(task, budget=2), [task], place, Silence())
    (outcome,) = result.outcomes
    assert outcome.best == result.steps[0].idea.id
    assert f"{result.steps[1].idea.id} passed and then was runtime_error in the audit: out of bounds" in outcome.reason


def test_an_audit_goes_on_where_it_was(place: Workspace, task: Task, monkeypatch: pytest.MonkeyPatch) -> None:
    script(place.home, kernel("passed 2"))
    judged, ids, broken = FakeEngine.evaluate, [], [True]

    def counted(self: FakeEngine, job: object) -> object:
        if job.id.endswith("audit2") and broken.pop():  # type: ignore[attr-defined]
            broken.append(False)
            raise HarnessError("killed")
        ids.append(job.id)  # type: ignore[attr-defined]
        return judged(self, job)  # type: ignore[arg-type]

    monkeypatch.setattr(FakeEngine, "evaluate", counted)
    with pytest.raises(HarnessError):
        start(config(task, budget=1), [task], place, Silence())
    result = resume(stored(place)[0].id, place, Silence())
    assert [i.rsplit("-", 1)[1] for i in ids] == ["001", "audit1", "audit2"]
    assert result.outcomes[0].status == "improved"


def test_a_run_is_held_by_one_process(place: Workspace, task: Task) -> None:
    script(place.home, kernel("passed 2"))
    first = start(config(task), [task], place, Looker(limit=1))
    with place.hold(first.run.id), pytest.raises(InputError, match="is being worked on by process"):
        resume(first.run.id, place, Silence())


def test_an_unknown_run_names_the_known_ones(place: Workspace, task: Task) -> None:
    script(place.home, kernel("passed 2"))
    known = start(config(task, budget=1), [task], place, Silence()).run.id
    with pytest.raises(UnknownName) as raised:
        resume("nothing", place, Silence())
    assert known in raised.value.remedy
    (place.run(known) / "report.html").unlink()
    report(known, place)
    assert (place.run(known) / "report.html").is_file()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"policy": "random"}, "unknown policy 'random'"),
        ({"backend": "fortran"}, "unknown backend 'fortran'"),
        ({"engine": "moon"}, "unknown engine 'moon'"),
        ({"model": "no.such:Writer"}, "unknown model 'no.such:Writer'"),
    ],
)
def test_unknown_names_are_told_before_a_run_is_made(
    place: Workspace, task: Task, changes: dict[str, str], message: str
) -> None:
    with pytest.raises(UnknownName, match=message):
        start(config(task, **changes), [task], place, Silence())
    assert stored(place) == ()


def test_memory_is_told_and_recalls(place: Workspace, task: Task) -> None:
    script(place.home, kernel("incorrect"), kernel("passed 1.2"))
    result = start(config(task, budget=3), [task], place, Silence())
    memory = place.open_memory()
    try:
        found = memory.search(result.steps[0].answer.strategy or task.source, n=100)
        assert task.name in {item.experience.task for item in found}
    finally:
        memory.close()
    assert all(step.context.items or step.context.knowledge for step in result.steps)
    assert [len(step.context.history) for step in result.steps] == [0, 1, 2]


def drive(place: Workspace, task: Task, writer: object, jobs: int, budget: int) -> list[Attempt]:
    memory = place.open_memory()
    looker = Looker()
    try:
        memory.store.create_run(RunRecord("r", {}, "running", "2026-01-01T00:00:00+00:00", (task,)))
        policy = Greedy(Search("r", task.name, task.family, "cpp", budget=budget, jobs=jobs), memory.values())
        search(task, policy, (), Parts(memory.store, memory, writer, FakeEngine(), "cpp", jobs), looker)  # type: ignore[arg-type]
    finally:
        memory.close()
    return looker.attempts


@pytest.mark.parametrize("jobs", [1, 3])
def test_a_writer_that_has_nothing_more_ends_its_task(place: Workspace, task: Task, jobs: int) -> None:
    more = [Exhausted("every point was tried") for _ in range(20)]
    writer = FakeWriter([kernel("passed 1.2"), kernel("passed 1.4"), *more])
    attempts = drive(place, task, writer, jobs, budget=20)
    assert [a.idea.number for a in attempts] == [1, 2]
    assert len(writer.asked) <= 2 + jobs
    store = place.open_memory().store
    assert len(store.steps("r", task.name)) == 2  # what was asked in vain is taken back


class Together(FakeWriter):
    """Every answer waits until ``width`` of them are being written at once."""

    def __init__(self, width: int, line: str) -> None:
        super().__init__([line])
        self.barrier = threading.Barrier(width, timeout=20)

    def write(self, assignment: Assignment) -> Answer:
        self.barrier.wait()
        return super().write(assignment)


def test_jobs_are_written_at_once_and_judged_in_order(place: Workspace, task: Task) -> None:
    attempts = drive(place, task, Together(3, kernel("incorrect")), jobs=3, budget=3)
    assert [a.idea.number for a in attempts] == [1, 2, 3]


def test_answers_being_written_are_kept_when_another_idea_breaks_the_run(place: Workspace, task: Task) -> None:
    gate: list[Callable[[], object]] = []

    class Writer(FakeWriter):
        def write(self, assignment: Assignment) -> Answer:
            if assignment.idea.number == 2:
                gate.append(lambda: None)
            return super().write(assignment)

    with pytest.raises(HarnessError):
        drive(place, task, Writer([kernel("broken"), kernel("passed 2")]), jobs=2, budget=2)
    store = place.open_store()
    steps = store.steps("r")
    store.close()
    assert [s.answer is not None for s in steps] == [True, True]
    assert gate


def test_a_fake_writer_raises_its_errors_once(place: Workspace, task: Task) -> None:
    writer = FakeWriter([Pending("later"), kernel("passed 2")])
    with pytest.raises(Pending):
        writer.write(assignment_of(task))
    assert writer.write(assignment_of(task)).kernel is not None


def assignment_of(task: Task) -> Assignment:
    from kernelwright.memory.records import Context
    from kernelwright.tasks.records import Idea, IdeaStage

    return Assignment(Idea("r", task.name, 1, IdeaStage.DRAFT), task, "cpp", FakeEngine().device(), Context())
