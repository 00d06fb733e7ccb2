"""Runs as large as one likes, put into a store by its own API, with verdicts as large as real ones."""

from __future__ import annotations

import math
import random
from collections.abc import Sequence

from kernelwright.memory.records import Context, RunRecord, TaskOutcome
from kernelwright.memory.store import Store
from kernelwright.tasks.records import (
    Answer,
    Assurance,
    CaseResult,
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

EVIL = "<script>window.hacked = 1</script><img src=x onerror='window.hacked = 1'>\"'&</pre></style></svg>\u202e"
CASES = tuple(ShapeCase(f"case-{n}", Use.TIMING if n < 3 else Use.CORRECTNESS) for n in range(8))


def task_of(name: str) -> Task:
    return Task(name, f"# {name}\nclass Model: ...", "reference.py", CASES, "normalization", "norm", summary="Root mean square")


def around(middle: float) -> Interval:
    return Interval(middle, middle * 0.97, middle * 1.03)


def passed(task: Task, kernel: Kernel, speedup: float) -> Verdict:
    latency = 300.0 / speedup
    levels = {"eager": around(300.0), "compile": around(240.0), "max-autotune": around(220.0)}
    ratios = {name: around(level.median / latency) for name, level in levels.items()}
    ratios["best"] = ratios["max-autotune"]
    cases = tuple(
        CaseTiming(c.name, "float32", around(latency), levels, ratios, latency * 0.6, "memory", 30, ("cold L2",))
        for c in CASES
        if c.use is Use.TIMING
    )
    timing = Timing(around(latency), levels, ratios, "max-autotune", 0.6, cases)
    return _verdict(task, kernel, Status.PASSED, Stage.HELD_OUT, "all gates passed", timing)


def failed(task: Task, kernel: Kernel, status: Status, reason: str) -> Verdict:
    return _verdict(task, kernel, status, Stage.CORRECT, reason, None)


def fill(store: Store, run: str, names: Sequence[str], attempts: int, *, status: str = "finished", text: str = "") -> RunRecord:
    """A run with ``attempts`` attempts on each task: one in ten unreadable, three in ten incorrect, the rest ever faster.

    ``text`` stands in every kernel, prompt, strategy and reason.
    """
    tasks = tuple(map(task_of, names))
    config = {"argv": ["optimize", *names], "order": list(names), "backend": "cpp", "model": "somebody/model"}
    record = RunRecord(run, config | {"budget": attempts, "policy": "evokernel"}, status, "2026-01-02T03:04:05+00:00", tasks)
    store.create_run(record)
    for task in tasks:
        best = _fill_task(store, run, task, attempts, text)
        if status == "finished":
            id_, verdict = best
            store.set_outcome(run, task.name, TaskOutcome(task.name, "improved", attempts, id_, verdict, 1.0, f"done {text}"))
    return record


def _fill_task(store: Store, run: str, task: Task, attempts: int, text: str) -> tuple[str | None, Verdict | None]:
    rng = random.Random(task.name)
    feasible: list[tuple[float, str, Verdict]] = []
    for number in range(1, attempts + 1):
        parent = max(feasible)[1] if feasible and rng.random() < 0.5 else rng.choice(feasible)[1] if feasible else None
        idea = Idea(run, task.name, number, IdeaStage.REFINE if parent else IdeaStage.DRAFT, parent)
        store.ask(idea, Context())
        if number % 10 == 1:
            unread = Answer("rubbish", None, f"no code block {text}", model="somebody/model", prompt=f"# Task\n{text}")
            store.answer(idea.id, unread)
            continue
        source = f"import torch\n# {text}\n" + "\n".join(f"x = {i}" for i in range(40)) + f"\ny = {number}\n"
        kernel = Kernel(source, "cpp")
        told = {"strategy": f"tile {number} {text}", "model": "somebody/model", "prompt": f"# Task\n{text} {number}"}
        answer = Answer(f"said {number}", kernel, **told, tokens_in=900, tokens_out=90, cost_usd=0.01)
        store.answer(idea.id, answer)
        if number % 10 in (2, 5, 8):
            verdict = failed(task, kernel, Status.INCORRECT, f"max error 0.5 {text}")
        else:
            speedup = 1 + math.log(1 + number) * rng.uniform(0.2, 0.4)
            verdict = passed(task, kernel, speedup)
            feasible.append((speedup, idea.id, verdict))
        store.judge(idea.id, verdict)
    return (max(feasible)[1], max(feasible)[2]) if feasible else (None, None)


def _verdict(task: Task, kernel: Kernel, status: Status, stage: Stage, reason: str, timing: Timing | None) -> Verdict:
    cases = tuple(CaseResult(c.name, c.use, "float32", "passed", 2.4e-7, 0.031, "as the reference") for c in CASES)
    evidence = {"honest": {"operators": ["aten::empty"] * 20}, "build": {"log": "ok " * 200, "text": reason}}
    environment = {"torch": "2.13.0", "device": "test cpu", "flags": "avx2 " * 40}
    return Verdict(
        status,
        stage,
        reason,
        kernel.kernel_id,
        task.name,
        Assurance.DEVICE,
        evidence=evidence,
        cases=cases,
        timing=timing,
        held_out="passed",
        environment=environment,
        seconds=2.5,
    )
