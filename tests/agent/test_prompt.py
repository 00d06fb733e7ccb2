"""The universal prompt: complete, bounded, and silent about held-out shapes."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from kernelwright.agent import knowledge, prompt
from kernelwright.agent.prompt import build_prompt
from kernelwright.agent.writers.writer import Assignment
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.memory import seeds
from kernelwright.memory.records import Context, Experience, Recalled
from kernelwright.tasks.hardware import Hardware, lookup
from kernelwright.tasks.load import all_tasks
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

SNAPSHOTS = Path(__file__).parent / "snapshots"
UPDATE = bool(os.environ.get("UPDATE_SNAPSHOTS"))

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


def draft(task: Task = TASK, device: DeviceInfo = CPU, context: Context | None = None, backend: str = "cpp") -> str:
    idea = Idea("r1", task.name, 1, IdeaStage.DRAFT)
    return build_prompt(Assignment(idea, task, backend, device, context or Context()))


def refine(context: Context = CONTEXT, task: Task = TASK) -> str:
    start = context.start
    idea = Idea("r1", task.name, 5, IdeaStage.REFINE, start.id if start else None)
    return build_prompt(Assignment(idea, task, "triton", H100, context))


@pytest.mark.parametrize(("name", "text"), [("draft_cpp", draft()), ("refine_triton", refine())])
def test_snapshot(name: str, text: str) -> None:
    """UPDATE_SNAPSHOTS=1 writes them anew; read the difference before you commit it."""
    path = SNAPSHOTS / f"{name}.md"
    if UPDATE:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_a_draft_says_all_that_a_writer_needs() -> None:
    text = draft()
    for needed in (
        REFERENCE.strip(), "class ModelNew", "| odd | correctness | ROWS=33, COLS=1025 | float32, bfloat16 |",
        "| host | timing, cpu | ROWS=1024, COLS=2048 | float32 |", "from kernelwright.evaluator.native import load",
        "| bfloat16 | 0.016 | 0.0016 |", "torch.compile", "42 GB/s", "Cores: 8", "fma avx512f", "Strategy: ",
        "#### Row kernels", "An exemplar of this kind of problem (activation)",
    ):  # fmt: skip
        assert needed in text, needed
    for absent in ("<<<<<<< SEARCH", "start point", "tl.dot", "| big |", "What was tried", "#### Convolution"):
        assert absent not in text, absent


def test_a_refinement_shows_start_point_diagnosis_history_and_feedback() -> None:
    text = refine()
    for needed in (
        "Make this kernel faster", "The start point: attempt 2", "# attempt 2", "2.10x (2.08 to 2.12) against eager, ",
        "| big | bfloat16 | 28.6 | 60.0 | 45.0 | 1.58x (1.56 to 1.59) | 78% | memory |", "Diagnosis of the start point: memory",
        "kernel softmax_kernel: 40 registers a thread, 4 LDG.128", "| 3 | refine | 2 | passed | 1.40x | two passes |",
        "| 1 | draft |  | build_failed |  | whole row in registers |", "feedback on attempt 4", "at stage `correct`",
        "12 of 33825 elements", "worst at [3, 7]", "max_error: 0.25", "# attempt 4", "Rows in registers reached 2x.",
        "Mask before exp", "# traced", "<<<<<<< SEARCH", "132", "#### Long rows",
    ):  # fmt: skip
        assert needed in text, needed
    assert "An exemplar" not in text, "a start point that works is the better example"
    assert "| host |" not in text, "cases of another device"
    assert text.index("The start point") < text.index("What was tried") < text.index("The form of the answer")


def test_a_start_point_that_failed_is_to_be_corrected() -> None:
    text = refine(Context(start=WRONG, history=(FIRST, WRONG)))
    assert "Make this kernel correct" in text
    assert "feedback on the start point" in text
    assert text.count("# attempt 4") == 1, "its source is shown once"
    assert "Diagnosis" not in text


def test_an_unreadable_answer_is_feedback_too() -> None:
    idea = Idea("r1", TASK.name, 1, IdeaStage.DRAFT)
    failed = Attempt(idea, Answer("rubbish", None, problem="no code block with class ModelNew"), None)
    text = draft(context=Context(history=(failed,)))
    assert "Status `unreadable`: no code block with class ModelNew" in text


def held_out_failure() -> Attempt:
    return attempt(
        5,
        Status.INCORRECT,
        Stage.HELD_OUT,
        reason="hidden_prime float32: wrong at ROWS=73, COLS=40961",
        evidence={"where": "row 72 of 73", "case": "hidden_prime"},
        cases=(CaseResult("hidden_prime", Use.HELD_OUT, "float32", "incorrect", 1.0, 9.0, "73 x 40961"),),
    )


def test_held_out_shapes_never_reach_a_prompt() -> None:
    failed = held_out_failure()
    start = attempt(6, Status.PASSED, speedup=1.5, envelope="outside its envelope at 73 x 40961")
    own = replace(LESSON, task=TASK.name, lesson="It broke at COLS=40961 with 73 rows, never at 1025.")
    context = Context(items=(Recalled(own, 1.0, 1.0),), start=start, history=(start, failed))
    for text in (draft(context=Context(history=(failed,))), refine(context), refine(Context(start=failed))):
        assert not re.search(r"hidden_prime|40961|\b73\b", text)
        assert "on a shape that is not listed above" in text or "start point: attempt 6" in text
    assert "never at 1025" in refine(context), "sizes that were shown stay"


@pytest.mark.parametrize("backend", ["cpp", "triton"])
def test_no_library_task_shows_a_held_out_case(backend: str) -> None:
    device = CPU if backend == "cpp" else H100
    for task in all_tasks():
        text = draft(task, device, backend=backend)
        hidden = [case for case in task.cases if case.use is Use.HELD_OUT]
        shown = {tuple(case.sizes.items()) for case in task.cases if case.use is not Use.HELD_OUT}
        assert hidden
        for case in hidden:
            row = ", ".join(f"{name}={value}" for name, value in case.sizes.items())
            assert tuple(case.sizes.items()) in shown or row not in text, (task.name, case.name)
            assert f"| {case.name} |" not in text, (task.name, case.name)
        assert "held_out" not in text


def big_context(code: int, items: int) -> Context:
    filler = "x = 1\n" * (code // 6)
    traces = tuple(Recalled(replace(TRACE, id=f"t{i}", code=filler), 0.5, 0.5) for i in range(items))
    tried = tuple(attempt(n, Status.PASSED, speedup=1.1, source=filler + KERNEL) for n in range(10, 60))
    return Context(items=traces, start=BEST, relatives=tried[:5], history=tried)


def test_the_least_valuable_parts_go_first_when_space_is_short() -> None:
    text = refine(big_context(9_000, 8))
    assert len(text) <= prompt.LIMIT
    for kept in (REFERENCE.strip(), "# attempt 2", "What a kernel is", "The form of the answer", "Diagnosis of the start"):
        assert kept in text


def test_task_contract_and_start_point_are_never_cut() -> None:
    long = attempt(2, Status.PASSED, speedup=2.0, source=KERNEL + "# end of the start point\n" + "y = 2\n" * 12_000)
    text = refine(Context(start=long, history=(long,)))
    assert len(text) > prompt.LIMIT
    for kept in (REFERENCE.strip(), "# end of the start point", "What a kernel is", "The form of the answer"):
        assert kept in text
    assert "An exemplar" not in text


def test_code_with_fences_inside_stays_one_block() -> None:
    task = replace(TASK, source=REFERENCE + '\n"""\n```\nnot the end\n```\n"""\n')
    assert "````python\n" + task.source.strip("\n") + "\n````" in draft(task)


def test_recalled_knowledge_is_not_shown_twice() -> None:
    seeded = [seed.experience for seed in seeds.read(seeds.folder()) if seed.experience.backend == "triton"]
    assert {e.kind for e in seeded} == {"api", "practice", "trace"}
    other = replace(LESSON, kind="api", id="e9", text="", lesson="tl.magic\nDoes the unheard-of.", task="knowledge/triton/x")
    items = tuple(Recalled(e, 1.0, 0.0) for e in seeded if e.kind != "api")
    text = draft(TASK, H100, Context(items=items, knowledge=(*seeded[:5], other)), "triton")
    assert text.count("Does the unheard-of.") == 1
    for section in knowledge.relevant("triton", TASK):
        assert text.count(section.body) == 1, section.title
    chosen = knowledge.exemplar("triton", TASK)
    assert chosen is not None
    assert text.count(chosen.code.strip()) == 1
    assert "### 1. Practice from the knowledge base" in text, "what was left out for its tags, memory may still bring"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("core/matmul/gemm", "matmul"), ("core/loss/cross_entropy", "loss"), ("core/pooling/avg_pool2d", "pooling"),
        ("core/convolution/depthwise_conv2d", "convolution"), ("core/resize/bilinear_upsample", "pooling"),
        ("core/architecture/mlp_block", "matmul"), ("core/optimizer/adamw_step", "fusion"),
    ],
)  # fmt: skip
def test_the_exemplar_is_the_nearest(name: str, expected: str) -> None:
    task = next(t for t in all_tasks() if t.name == name)
    for backend in ("cpp", "triton"):
        found = knowledge.exemplar(backend, task)
        assert found is not None
        assert found.category == expected


def test_a_plain_file_gets_knowledge_by_what_its_reference_calls() -> None:
    plain = replace(TASK, category="custom", family="custom", source=REFERENCE.replace("softmax", "cumsum"))
    assert "math" in knowledge.topics(plain)
    found = knowledge.exemplar("cpp", plain)
    assert found is not None
    assert found.category == "math"


@pytest.mark.parametrize("backend", ["cpp", "triton"])
def test_knowledge_is_in_small_self_contained_sections(backend: str) -> None:
    found = knowledge.sections(backend)
    assert {s.kind for s in found} == set(knowledge.KINDS)
    titles = [s.title for s in found]
    assert len(titles) == len(set(titles))
    for section in found:
        assert 150 <= len(section.body) <= 4_000, section.title
        assert section.body.count("```") % 2 == 0, section.title


def test_every_variable_of_the_templates_is_documented() -> None:
    documented = set(re.findall(r"^\| `(\w+)", (knowledge.PROMPTS / "README.md").read_text(encoding="utf-8"), re.MULTILINE))
    view: Mapping[str, Any] = prompt._view(
        Assignment(Idea("r1", TASK.name, 5, IdeaStage.REFINE, BEST.id), TASK, "triton", H100, CONTEXT)
    )
    assert set(view) == documented


def test_the_tolerances_shown_are_the_judges() -> None:
    correctness = pytest.importorskip("kernelwright.evaluator.correctness")
    assert {str(dtype).removeprefix("torch."): rtol for dtype, rtol in correctness.RTOL.items()} == prompt.RTOL
