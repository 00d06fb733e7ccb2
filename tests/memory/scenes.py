"""Records that the memory tests are made of; also imported by the child process that is killed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from kernelwright.memory.memory import Memory, Settings, open_memory
from kernelwright.memory.records import Context, RunRecord, Step
from kernelwright.tasks.records import (
    Answer,
    Assurance,
    Attempt,
    CaseTiming,
    Idea,
    IdeaStage,
    Interval,
    Kernel,
    ShapeCase,
    Stage,
    Status,
    Task,
    Timing,
    Use,
    Verdict,
)

DEVICE = "test device"


def task(name: str = "core/reduce/softmax", family: str = "softmax", summary: str = "softmax over rows") -> Task:
    op = name.split("/")[-1]
    return Task(
        name=name,
        source=f"class Model:\n    def forward(self, x):\n        return torch.{op}(x, -1)\n",
        path=f"{name}.py",
        cases=(ShapeCase("small", Use.CORRECTNESS, {"N": 8}), ShapeCase("hidden", Use.HELD_OUT, {"N": 31337})),
        category=name.split("/")[-2] if "/" in name else "custom",
        family=family,
        summary=summary,
    )


def run(id_: str = "r1", *tasks: Task, created: str = "2025-01-01T00:00:00+00:00", **config: Any) -> RunRecord:
    return RunRecord(id_, {"backend": "cpp", **config}, "running", created, tasks or (task(),))


def idea(of: Task, number: int = 1, parent: str | None = None, run_id: str = "r1", seed: int | None = None) -> Idea:
    stage = IdeaStage.REFINE if parent else IdeaStage.DRAFT
    return Idea(run_id, of.name, number, stage, parent, number if seed is None else seed)


def timing(speedup: float, bound: str = "memory", fraction: float = 0.6) -> Timing:
    latency, ratio = Interval(100.0 / speedup, 100.0 / speedup, 100.0 / speedup), Interval(speedup, speedup, speedup)
    eager = {"eager": Interval(100.0, 100.0, 100.0)}
    ratios = {"eager": ratio, "best": ratio}
    case = CaseTiming("big", "float32", latency, eager, ratios, 10.0, bound, 30)
    return Timing(latency, eager, ratios, "eager", fraction, (case,))


def verdict(
    of: Task,
    speedup: float | None = None,
    status: Status = Status.PASSED,
    stage: Stage = Stage.TIME,
    reason: str = "",
    evidence: Mapping[str, Any] | None = None,
    bound: str = "memory",
) -> Verdict:
    simulated = speedup is None
    return Verdict(
        status=status,
        stage=stage,
        reason=reason,
        kernel_id="k",
        task=of.name,
        assurance=Assurance.SIMULATED if simulated else Assurance.DEVICE,
        evidence=evidence or {},
        timing=None if simulated else timing(float(speedup or 0), bound),
    )


def answer(code: str = "class ModelNew: pass", strategy: str = "one pass", backend: str = "cpp") -> Answer:
    return Answer(
        text=f"```python\n{code}\n```",
        kernel=Kernel(code, backend),
        strategy=strategy,
        model="test/model",
        prompt="write a kernel",
        tokens_in=10,
        tokens_out=5,
        cost_usd=0.25,
        seconds=1.5,
    )


def unreadable() -> Answer:
    return Answer(text="I cannot.", kernel=None, problem="no code block", cost_usd=None)


def attempt(of: Idea, given: Answer, judged: Verdict | None) -> Attempt:
    return Attempt(of, given, judged)


def open_here(home: Path, seeds: Path | None = None, exclude: tuple[str, ...] = (), **settings: Any) -> Memory:
    return open_memory(home, None, Settings(seeds=seeds, **settings), exclude)


def work(memory: Memory, of: Task, what: Idea, given: Answer, judged: Verdict | None, context: Context | None = None) -> Step:
    """One step of the loop, from recall to learning, committed at each point; the step as it is stored."""
    context = memory.recall(what, of, "cpp") if context is None else context
    there = memory.store.step(what.id)
    if there is None or there.answer is None:  # else it was answered before the process was killed
        memory.store.ask(what, context)
        memory.store.answer(what.id, given)
    if judged is not None:
        memory.store.judge(what.id, judged)
    memory.learn(Step(what, context, given, judged, False), of, "cpp", DEVICE)
    stored = memory.store.step(what.id)
    assert stored is not None
    return stored
