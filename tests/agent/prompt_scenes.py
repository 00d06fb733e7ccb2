"""Assignments that prompts are made of in the tests: one demo task, its attempts, two devices."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from kernelwright.agent.prompt.build import CAP, Prompt, build_prompt, compose
from kernelwright.agent.writers.writer import Assignment
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.memory.records import Context, Experience, Recalled
from kernelwright.tasks.hardware import Hardware, lookup
from kernelwright.tasks.records import (
    Answer,
    Assurance,
    Attempt,
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

REFERENCE = """import torch
import torch.nn as nn

ROWS, COLS = 256, 1024


class Model(nn.Module):
    def __init__(self, cols):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(cols))

    def forward(self, x):
        return torch.softmax(x * self.weight, dim=-1)


def get_inputs():
    return [torch.randn(ROWS, COLS)]


def get_init_inputs():
    return [COLS]
"""
TASK = Task(
    name="demo/activation/scaled_softmax",
    source=REFERENCE,
    path="reference.py",
    category="activation",
    family="softmax",
    summary="softmax of a scaled row",
    bytes="2 * ROWS * COLS * itemsize",
    cases=(
        ShapeCase("odd", Use.CORRECTNESS, {"ROWS": 33, "COLS": 1025}, ("float32", "bfloat16")),
        ShapeCase("big", Use.TIMING, {"ROWS": 4096, "COLS": 4096}, ("bfloat16",), device="cuda"),
        ShapeCase("host", Use.TIMING, {"ROWS": 1024, "COLS": 2048}, ("float32",), device="cpu"),
        ShapeCase("hidden_prime", Use.HELD_OUT, {"ROWS": 73, "COLS": 40961}, ("float32",)),
    ),
)
CPU = DeviceInfo(
    kind="cpu",
    name="Example CPU",
    hardware=Hardware("Example CPU", "cpu", "Example", "x86-64-v4", None, 2 << 20, 8, warp=16, notes=("fma avx512f",)),
    memory_gbps=42.0,
    tflops={"float32": 0.9},
    cores=8,
    versions={"torch": "2.11"},
)
H100 = DeviceInfo(
    kind="cuda",
    name="NVIDIA H100 80GB HBM3",
    hardware=lookup("NVIDIA H100 80GB HBM3"),
    memory_gbps=3010.0,
    versions={"torch": "2.11", "triton": "3.6"},
)
KERNEL = """import torch.nn as nn


class ModelNew(nn.Module):
    def forward(self, x):
        return x
"""


def near(value: float) -> Interval:
    return Interval(value, value * 0.99, value * 1.01)


def timing(speedup: float) -> Timing:
    baselines = {"eager": near(60.0), "compile": near(45.0)}
    faster = {"eager": near(speedup), "compile": near(speedup * 0.75), "best": near(speedup * 0.75)}
    case = CaseTiming("big", "bfloat16", near(60.0 / speedup), baselines, faster, 22.4, "memory", 30)
    return Timing(near(60.0 / speedup), baselines, faster, "compile", 22.4 * speedup / 60.0, (case,))


def attempt(number: int, status: Status, stage: Stage = Stage.TIME, /, **facts: Any) -> Attempt:
    """An attempt on the demo task; ``facts``: parent, speedup, strategy, reason, evidence, cases, source."""
    parent = facts.get("parent")
    idea = Idea("r1", TASK.name, number, IdeaStage.REFINE if parent else IdeaStage.DRAFT, parent and parent.id)
    kernel = Kernel(facts.get("source", f"# attempt {number}\n{KERNEL}"), "triton")
    verdict = Verdict(
        status,
        stage,
        facts.get("reason", ""),
        kernel.kernel_id,
        TASK.name,
        Assurance.DEVICE,
        facts.get("evidence", {}),
        facts.get("cases", ()),
        timing(facts["speedup"]) if "speedup" in facts else None,
        envelope=facts.get("envelope", ""),
    )
    return Attempt(idea, Answer("", kernel, strategy=facts.get("strategy", f"idea {number}")), verdict)


FIRST = attempt(1, Status.BUILD_FAILED, Stage.BUILD, strategy="whole row in registers", reason="line 7: bad | type")
BEST = attempt(2, Status.PASSED, speedup=2.1, strategy="one program a row", evidence={"compiled": {"launches": [
    {"name": "softmax_kernel", "registers": 40, "num_warps": 8, "instructions": {"LDG.128": 4}}]}})  # fmt: skip
SLOWER = attempt(3, Status.PASSED, parent=BEST, speedup=1.4, strategy="two passes")
WRONG = attempt(
    4,
    Status.INCORRECT,
    Stage.CORRECT,
    parent=BEST,
    strategy="no max subtraction",
    reason="odd float32: 12 of 33825 elements exceed their bound",
    evidence={"max_error": 0.25, "build": {"native": []}, "log": "x" * 5000},
    cases=(CaseResult("odd", Use.CORRECTNESS, "float32", "incorrect", 0.25, 40.0, "worst at [3, 7]"),),
)
LESSON = Experience(
    id="e1", kind="failure", stage="draft", backend="triton", device="H100", family="softmax", task="core/other",
    text="softmax failure text", code="", lesson="Mask before exp: padding became 1.", status="incorrect", bottleneck="",
    speedup=None, parents=(),
)  # fmt: skip
TRACE = replace(
    LESSON, id="e2", kind="trace", lesson="Rows in registers reached 2x.", code="# traced\n" + KERNEL, status="passed",
    bottleneck="memory", speedup=2.0,
)  # fmt: skip
CONTEXT = Context(
    items=(Recalled(TRACE, 0.8, 0.5), Recalled(LESSON, 0.7, 0.1)),
    start=BEST,
    relatives=(SLOWER,),
    history=(FIRST, BEST, SLOWER, WRONG),
)


CPP_KERNEL = """import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
extern "C" void softmax(const float* x, const float* w, float* y, int64_t rows, int64_t cols) {
  for (int64_t r = 0; r < rows; ++r) {
    float m = -INFINITY, s = 0.0f;
    for (int64_t c = 0; c < cols; ++c) m = std::fmax(m, x[r * cols + c] * w[c]);
    for (int64_t c = 0; c < cols; ++c) s += std::exp(x[r * cols + c] * w[c] - m);
    for (int64_t c = 0; c < cols; ++c) y[r * cols + c] = std::exp(x[r * cols + c] * w[c] - m) / s;
  }
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        return x
"""
PLAN = "**Choice**: one program a row, since a row fits in registers; mask the tail with -inf."
HOST = attempt(2, Status.PASSED, speedup=2.1, strategy="rows apart", source=CPP_KERNEL, evidence={"build": {"native": [{
    "line": 6, "vectorised_loops": {"6": 32}, "scalar_loops": [3, 5, 7],
    "instructions": {"total": 400, "ymm": 24, "scalar float": 30, "calls expf": 2}}]}})  # fmt: skip
GPU = attempt(2, Status.PASSED, speedup=2.1, strategy="one program a row", evidence={"profile": {
    "tool": "ncu", "case": "big/timing/bfloat16", "launches": 1, "microseconds": 28.6, "compute_percent": 21.4,
    "memory_percent": 78.0, "dram_percent": 78.0, "l2_percent": 40.1, "l2_hit_percent": 12.0, "occupancy_percent": 61.0,
    "occupancy_limit_percent": 75.0, "registers": 40, "eligible_warps": 0.4, "dram_read_bytes": 33554432,
    "dram_written_bytes": 33554432, "load_sectors": 4096, "load_requests": 512,
    "stalls": {"long scoreboard": 17.2, "barrier": 2.0, "wait": 1.5}}})  # fmt: skip


def assignment(situation: str, backend: str) -> Assignment:
    """One of ``draft``, ``refine``, ``repair`` for a backend."""
    device, best = (CPU, HOST) if backend == "cpp" else (H100, GPU)
    failed = replace(WRONG, idea=replace(WRONG.idea, stage=IdeaStage.DRAFT, parent=None))
    memory = (Recalled(replace(TRACE, backend=backend), 0.8, 0.5), Recalled(replace(LESSON, backend=backend), 0.7, 0.1))
    contexts = {
        "draft": Context(items=memory),
        "refine": Context(items=memory, start=best, relatives=(SLOWER,), history=(FIRST, best, SLOWER, WRONG)),
        "repair": Context(items=memory, start=failed, history=(FIRST, failed)),
    }
    context = contexts[situation]
    stage = IdeaStage.REFINE if situation == "refine" else IdeaStage.DRAFT
    idea = Idea("r1", TASK.name, 5, stage, context.start.id if context.start else None)
    return Assignment(idea, TASK, backend, device, context)


SITUATIONS = {
    "draft": ("draft", "code"),
    "refine": ("refine", "code"),
    "repair": ("repair", "code"),
    "plan": ("refine", "plan"),
    "review": ("refine", "review"),
}
"""Name of a snapshot -> (situation, role)."""


def snapshot(name: str, backend: str, cap: int = CAP) -> Prompt:
    situation, role = SITUATIONS[name]
    source = CPP_KERNEL if backend == "cpp" else KERNEL
    plan, code = (PLAN if name == "refine" else ""), (source if role == "review" else "")
    return compose(assignment(situation, backend), cap, role, plan, code)


def draft(
    task: Task = TASK, device: DeviceInfo = CPU, context: Context | None = None, backend: str = "cpp", role: str = "code"
) -> str:
    idea = Idea("r1", task.name, 1, IdeaStage.DRAFT)
    return build_prompt(Assignment(idea, task, backend, device, context or Context()), role=role, code=KERNEL)


def refine(context: Context = CONTEXT, task: Task = TASK, role: str = "code") -> str:
    start = context.start
    idea = Idea("r1", task.name, 5, IdeaStage.REFINE, start.id if start else None)
    return build_prompt(Assignment(idea, task, "triton", H100, context), role=role, code=KERNEL)
