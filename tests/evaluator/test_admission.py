"""Admission: a task on which no work passes is refused, one that could not tell half precision is hardened."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from plain import kernel, task

from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.runner.admission import WEAK, admit, further
from kernelwright.evaluator.runner.cases import Case
from kernelwright.evaluator.session import DRAWS
from kernelwright.tasks.errors import NotAdmitted, TaskError
from kernelwright.tasks.records import ShapeCase, Status, Use

PLANNED = [dict(zip(("scale", "spikes", "vary"), draw, strict=True)) for draw in DRAWS]


@pytest.fixture(autouse=True)
def _without_gradients() -> Iterator[None]:
    with torch.no_grad():
        yield


def admitted(folder: Path, forward: str, rtol: float | None = None, **more: str) -> dict[str, Any]:
    case = Case(task(folder, forward, **more), {}, "float32", "cpu", None, 11)
    return admit(case, PLANNED, 1234, rtol)


@pytest.mark.parametrize(
    ("forward", "passing"),
    [
        ("return x * 0", "zeros"),
        ("return torch.clamp(x, min=1e9)", "a constant"),
        ("return (x.mean(-1) * 0 + 0.25).to(x.dtype)", "a constant"),
        ("return torch.softmax(x.sum(-1, keepdim=True), -1) * 3", "the previous draw's output"),
        ("return x + 1e-12", "an input passed through"),
        ("return x.mean(0, keepdim=True).expand(64, 96) + 0", "one row for all"),
    ],
)
def test_task_on_which_no_work_passes_is_told(tmp_path: Path, forward: str, passing: str) -> None:
    assert passing in admitted(tmp_path, forward)["passing"]


@pytest.mark.parametrize(
    ("forward", "more"),
    [
        ("return torch.softmax(x, -1)", {}),
        ("return torch.relu(x)", {}),
        ("return self.l(x)", {"init": "self.l = nn.Linear(COLS, 32)"}),
        ("return x.argmax(-1)", {}),
        ("return x.sum(), x * 2", {}),
        ("x.mul_(0)\nreturn x", {}),  # the input must change, and leaving it alone does not pass
        ("return x[:1] * 2", {}),
        ("return x * (x > 0).float()", {}),
    ],
)
def test_ordinary_tasks_are_admitted_and_not_hardened(tmp_path: Path, forward: str, more: dict[str, str]) -> None:
    assert admitted(tmp_path, forward, **more) == {"passing": [], "harden": [], "weak": []}


def test_mean_of_everything_is_hardened_by_one_dominating_element(tmp_path: Path) -> None:
    found = admitted(tmp_path, "return (x * x).mean()", inputs="torch.randn(1 << 22)")
    assert found == {"passing": [], "harden": ["lone"], "weak": []}


def test_inputs_of_one_sign_are_hardened_by_mixed_ones(tmp_path: Path) -> None:
    found = admitted(tmp_path, "return torch.relu(x)", inputs="torch.rand(ROWS, COLS)")
    assert found == {"passing": [], "harden": ["signed"], "weak": []}, "passing its input through would do otherwise"


@pytest.mark.parametrize(
    ("forward", "inputs", "spikes"),
    [
        ("return x / (1 + x.abs())", "torch.rand(ROWS, COLS)", ["signed"]),
        ("return x / (1 + x.abs())", "torch.randn(ROWS, COLS)", []),
        ("return torch.log(x + 0.5)", "torch.rand(ROWS, COLS)", []),  # negative inputs have no logarithm
        ("return torch.cumprod(x, 1)", "torch.rand(64, 512)", ["signed", "ones"]),
        ("return torch.exp(-x.abs() * 1e4)", "torch.rand(64, 512) + 1", ["signed"]),  # fades near one, too
    ],
)
def test_draws_are_added_that_show_what_ordinary_ones_hide(
    tmp_path: Path, forward: str, inputs: str, spikes: list[str]
) -> None:
    assert further(Case(task(tmp_path, forward, inputs=inputs), {}, "float32", "cpu", None, 11), 1234) == spikes


def test_kernel_that_takes_positive_inputs_for_granted_is_rejected(bare_judge: Judge, tmp_path: Path) -> None:
    softsign = task(tmp_path, "return x / (1 + x.abs())", inputs="torch.rand(ROWS, COLS)")
    assert bare_judge.judge(kernel("return x / (1 + x)"), softsign).status is Status.INCORRECT


def test_what_even_that_cannot_tell_is_said(tmp_path: Path) -> None:
    assert admitted(tmp_path, "return (x > 0).sum(-1)") == {"passing": [], "harden": [], "weak": [WEAK]}


def test_loose_tolerance_of_the_task_counts(tmp_path: Path) -> None:
    forward = "return x.mean() * 1e-3 + 1.0"
    assert "a constant" in admitted(tmp_path, forward, rtol=1e-2)["passing"]


def test_judge_refuses_such_a_task_with_what_would_pass(bare_judge: Judge, tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="not admitted: .*zeros"):
        bare_judge.judge(kernel("return torch.zeros_like(x)"), task(tmp_path, "return torch.clamp(x * 1e-9, 0, 0)"))
    with pytest.raises(TaskError, match="not admitted"):
        bare_judge.admit(task(tmp_path, "return torch.clamp(x * 1e-9, 0, 0)"))


def test_a_case_of_one_element_does_not_decide(bare_judge: Judge, tmp_path: Path) -> None:
    one = ShapeCase("one", Use.CORRECTNESS, {"ROWS": 1, "COLS": 1})
    many = ShapeCase("many", Use.CORRECTNESS, {"ROWS": 8, "COLS": 24})
    largest = task(tmp_path, "return x >= x.amax()")
    bare_judge.admit(replace(largest, cases=(one, many)))
    with pytest.raises(NotAdmitted):
        bare_judge.admit(replace(largest, cases=(one,)))
