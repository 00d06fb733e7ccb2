"""The universal prompt: complete, in the sections that the situation calls for, and silent about held-out shapes."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from prompt_scenes import (
    BEST,
    CONTEXT,
    CPP_KERNEL,
    CPU,
    FIRST,
    H100,
    LESSON,
    PLAN,
    REFERENCE,
    SITUATIONS,
    TASK,
    WRONG,
    assignment,
    attempt,
    draft,
    refine,
    snapshot,
)

from kernelwright.agent.prompt import build as prompt
from kernelwright.agent.prompt import knowledge
from kernelwright.agent.prompt import view as prompt_view
from kernelwright.agent.prompt.build import build_prompt, compose, section_names
from kernelwright.agent.writers.writer import Assignment
from kernelwright.memory import seeds
from kernelwright.memory.records import Context, Recalled
from kernelwright.tasks.errors import UnknownName
from kernelwright.tasks.load import all_tasks
from kernelwright.tasks.records import Answer, Attempt, CaseResult, Idea, IdeaStage, Stage, Status, Use

SNAPSHOTS = Path(__file__).parent / "snapshots"
UPDATE = bool(os.environ.get("UPDATE_SNAPSHOTS"))


def same(path: Path, text: str) -> None:
    """UPDATE_SNAPSHOTS=1 writes them anew; read the difference before you commit it."""
    if UPDATE:
        path.parent.mkdir(exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


@pytest.mark.parametrize("backend", ["cpp", "triton"])
@pytest.mark.parametrize("name", SITUATIONS)
def test_snapshot(name: str, backend: str) -> None:
    same(SNAPSHOTS / f"{name}_{backend}.md", snapshot(name, backend).text)


def test_snapshot_of_the_tokens_by_section() -> None:
    columns = {f"{name} {backend}": snapshot(name, backend) for backend in ("cpp", "triton") for name in SITUATIONS}
    counts = {name: {s.name: s.tokens for s in found.sections} for name, found in columns.items()}
    rows = [["section", *columns], ["---"] * (len(columns) + 1)]
    rows += [[section, *(str(counts[name][section] or "") for name in columns)] for section in section_names()]
    rows.append(["sum", *(str(found.tokens) for found in columns.values())])
    same(SNAPSHOTS / "tokens.md", "".join(f"| {' | '.join(row)} |\n" for row in rows))


@pytest.mark.parametrize("backend", ["cpp", "triton"])
@pytest.mark.parametrize("name", SITUATIONS)
def test_the_sections_in_their_order_are_the_template(name: str, backend: str) -> None:
    situation, role = SITUATIONS[name]
    view = prompt_view.variables(assignment(situation, backend), role, "", CPP_KERNEL)
    whole = prompt._tidy(prompt._environment().get_template("universal.j2").render(view))
    assert compose(assignment(situation, backend), 10**6, role, "", CPP_KERNEL).text == whole
    assert {f"{section}.j2" for section in section_names()} == {p.name for p in (knowledge.PROMPTS / "sections").iterdir()}


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


@pytest.mark.parametrize("role", ["code", "plan", "review"])
def test_held_out_shapes_never_reach_a_prompt(role: str) -> None:
    failed = held_out_failure()
    start = attempt(6, Status.PASSED, speedup=1.5, envelope="outside its envelope at 73 x 40961")
    own = replace(LESSON, task=TASK.name, lesson="It broke at COLS=40961 with 73 rows, never at 1025.")
    context = Context(items=(Recalled(own, 1.0, 1.0),), start=start, history=(start, failed))
    texts = (
        draft(context=Context(history=(failed,)), role=role),
        refine(context, role=role),
        refine(Context(start=failed), role=role),
    )
    for text in texts:
        assert not re.search(r"hidden_prime|40961|\b73\b", text)
    assert "on a shape that is not listed above" in texts[2]
    if role != "review":
        assert "on a shape that is not listed above" in texts[0]
        assert "never at 1025" in texts[1], "sizes that were shown stay"


@pytest.mark.parametrize("role", ["code", "plan", "review"])
@pytest.mark.parametrize("backend", ["cpp", "triton"])
def test_no_library_task_shows_a_held_out_case(backend: str, role: str) -> None:
    device = CPU if backend == "cpp" else H100
    for task in all_tasks():
        text = draft(task, device, backend=backend, role=role)
        hidden = [case for case in task.cases if case.use is Use.HELD_OUT]
        shown = {tuple(case.sizes.items()) for case in task.cases if case.use is not Use.HELD_OUT}
        assert hidden
        for case in hidden:
            row = ", ".join(f"{name}={value}" for name, value in case.sizes.items())
            assert tuple(case.sizes.items()) in shown or row not in text, (task.name, case.name)
            assert f"| {case.name} |" not in text, (task.name, case.name)
        assert "held_out" not in text


def test_a_repair_is_a_repair_in_either_stage() -> None:
    for name in ("cpp", "triton"):
        text = snapshot("repair", name).text
        assert text.startswith("# Make this kernel correct\n"), "the idea's stage is draft"
        assert "feedback on the start point" in text
        assert "edits of the start point" in text
    rows = refine(Context(start=WRONG, history=(FIRST, BEST, WRONG, attempt(5, Status.PASSED, parent=WRONG, speedup=1.1))))
    assert "| 5 | repair | 4 | passed |" in rows


def test_a_plan_asks_for_no_code_and_reaches_the_coder() -> None:
    asked = build_prompt(assignment("refine", "triton"), role="plan")
    headings = ("Bottleneck", "Data movement", "Tiling", "Numerics", "Strategies", "Choice")
    for needed in (
        "# Plan how to make this kernel faster",
        *headings,
        "Write no code",
        "# attempt 2",
        "Diagnosis of the start point",
    ):
        assert needed in asked, needed
    for absent in ("The form of the answer", "SEARCH", "An exemplar"):
        assert absent not in asked, absent
    told = build_prompt(assignment("refine", "triton"), plan=PLAN)
    assert PLAN in told
    assert told.index(PLAN) < told.index("The form of the answer")
    assert "## The plan" not in build_prompt(assignment("refine", "triton"))


def test_a_review_sees_the_kernel_and_what_the_judge_rejects() -> None:
    text = build_prompt(assignment("refine", "cpp"), role="review", code=CPP_KERNEL)
    for needed in (CPP_KERNEL.strip(), "`APPROVED`", "edits of the kernel under review", "What a kernel is", "How it is judged",
                   "Precision", REFERENCE.strip()):  # fmt: skip
        assert needed in text, needed
    for absent in ("The start point: attempt", "What was tried", "Experience from", "### Practices", "feedback on attempt"):
        assert absent not in text, absent
    repair = build_prompt(assignment("repair", "cpp"), role="review", code=CPP_KERNEL)
    assert "12 of 33825 elements" in repair, "whether what was wrong is right now"
    assert "edits of the start point" not in repair


def test_an_unknown_role_is_refused() -> None:
    with pytest.raises(UnknownName, match="unknown role 'critic'"):
        build_prompt(assignment("draft", "cpp"), role="critic")


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
        ("core/architecture/attention_block", "architecture"), ("core/optimizer/lion_step", "optimizer"),
        ("core/broadcast/alibi", "broadcast"), ("core/resize/nearest_upsample", "resize"),
    ],
)  # fmt: skip
def test_the_exemplar_is_the_nearest(name: str, expected: str) -> None:
    task = next(t for t in all_tasks() if t.name == name)
    for backend in ("cpp", "triton"):
        found = knowledge.exemplar(backend, task)
        assert found is not None
        assert found.category == expected


BACKENDS = sorted(path.name for path in (knowledge.PROMPTS / "backends").iterdir() if path.is_dir())


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_prompt_shows_an_exemplar_of_its_own_task(backend: str) -> None:
    """Neither as the exemplar nor as an item that memory recalls, and what a task loses others still see."""
    exemplars = [s.experience for s in seeds.read(seeds.folder()) if s.experience.backend == backend and s.experience.code]
    context = Context(items=tuple(Recalled(e, 1.0, 0.0) for e in exemplars))
    shown: set[str] = set()
    hidden: set[str] = set()
    for task in all_tasks():
        idea = Idea("r1", task.name, 1, IdeaStage.DRAFT)
        view = prompt_view.variables(Assignment(idea, task, backend, H100, context))
        codes = {e["code"] for e in view["experience"]} | ({view["exemplar"].code} if view["exemplar"] else set())
        for e in exemplars:
            own = knowledge.solves(backend, e.family, task)
            assert (e.code in codes) == (not own), (task.name, e.family)
            (hidden if own else shown).add(e.family)
    assert shown == {e.family for e in exemplars}
    assert hidden, "some exemplar of each backend solves a task of the library"


@pytest.mark.parametrize(
    ("backend", "name", "instead"),
    [
        ("pallas", "core/activation/softmax", "normalization"), ("triton", "core/pooling/max_pool2d", "reduce"),
        ("cpp", "core/convolution/pointwise_conv2d", "matmul"), ("pallas", "core/matmul/gemm", "fusion"),
    ],
)  # fmt: skip
def test_another_exemplar_takes_the_place_of_one_that_solves_the_task(backend: str, name: str, instead: str) -> None:
    found = knowledge.exemplar(backend, next(t for t in all_tasks() if t.name == name))
    assert found is not None
    assert found.category == instead


def test_what_an_exemplar_solves_is_found_in_other_suites_too() -> None:
    for name in ("kernelbench/level1/23_Softmax", "softmax", "SoftMax.py"):
        assert knowledge.solves("pallas", "activation", replace(TASK, name=name)), name
    for name in ("kernelbench/level1/24_LogSoftmax", "core/activation/softmax_backward", "softmax/gelu"):
        assert not knowledge.solves("pallas", "activation", replace(TASK, name=name)), name
    assert knowledge.solves("cpp", "convolution", replace(TASK, name="63_conv_standard_2D__square_input__square_kernel"))


def test_a_second_exemplar_of_the_category_is_next(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "backends" / "toy" / "exemplars"
    folder.mkdir(parents=True)
    for stem in ("activation", "activation_mish", "normalization"):
        (folder / f"{stem}.py").write_text(stem)
    (folder.parent / "seeds.yaml").write_text("solves:\n  activation: [softmax]\n  activation_mish: [mish]\n")
    monkeypatch.setattr(knowledge, "PROMPTS", tmp_path)
    for name, code in (("core/activation/softmax", "activation_mish"), ("core/activation/mish", "activation")):
        found = knowledge.exemplar("toy", replace(TASK, category="activation", family="softmax", name=name))
        assert found is not None
        assert (found.category, found.code) == ("activation", code)


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
    view: Mapping[str, Any] = prompt_view.variables(
        Assignment(Idea("r1", TASK.name, 5, IdeaStage.REFINE, BEST.id), TASK, "triton", H100, CONTEXT)
    )
    assert set(view) == documented


def test_the_tolerances_shown_are_the_judges() -> None:
    correctness = pytest.importorskip("kernelwright.evaluator.correctness")
    assert {str(dtype).removeprefix("torch."): rtol for dtype, rtol in correctness.RTOL.items()} == prompt_view.RTOL
