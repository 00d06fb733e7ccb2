"""Recordings of models with known odds, for tests of what is made of recorded runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from kernelwright.agent.recording import RecordedStep, Recording
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.evaluator.engines.engine import Job
from kernelwright.evaluator.engines.fake import FakeEngine
from kernelwright.tasks.records import Answer, Idea, IdeaStage, Kernel, ShapeCase, Task, Use

Speedups = Sequence[float | None]
"""Of one member's attempts on one task, in order; None for a rejected kernel."""


def task_of(name: str) -> Task:
    """A task that nobody will load."""
    return Task(name, f"# {name}", "", (ShapeCase("only", Use.TIMING),))


def recorded(
    outcomes: Mapping[str, Mapping[str, Speedups]],
    run: str = "r",
    costs: Mapping[str, float | None] | None = None,
    prompt: str = "p",
    device: str = "a cpu",
    **config: Any,
) -> Recording:
    """A run in which member -> task -> speedups happened, the members taking turns on each task."""
    tasks = list(dict.fromkeys(task for own in outcomes.values() for task in own))
    steps = []
    for task in map(task_of, tasks):
        own = {member: list(by_task.get(task.name, ())) for member, by_task in outcomes.items()}
        turns = [(m, s, i) for i in range(max(map(len, own.values()))) for m, row in own.items() for s in row[i : i + 1]]
        for number, (member, speedup, turn) in enumerate(turns, 1):
            idea = Idea(run, task.name, number, IdeaStage.DRAFT)
            judged = "incorrect" if speedup is None else f"passed {speedup}"
            kernel = Kernel(f"# judge: {judged}\ndef {member.replace('/', '_')}_{turn}(): ...\n", "cpp")
            price = (costs or {}).get(member, 0.1)
            answer = Answer("", kernel, "", f"{member} {turn}", member, prompt, 1000, 500, price)
            steps.append(RecordedStep(idea, answer, FakeEngine().evaluate(Job(idea.id, kernel, task))))
    settings = {"model": ",".join(outcomes), "backend": "cpp", **config}
    return Recording(run, settings, DeviceInfo("cpu", device), tuple(map(task_of, tasks)), tuple(steps))
