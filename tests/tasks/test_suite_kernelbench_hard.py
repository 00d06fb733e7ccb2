"""KernelBench-Hard's form: shapes set as module-level names, precision, what is left out."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task
from kernelwright.tasks.shapes import with_sizes
from kernelwright.tasks.suites.kernelbench_hard import KernelBenchHard
from kernelwright.tasks.suites.suite import Loaded, Selection

REFERENCE = """
import torch

class Model(torch.nn.Module):
    def __init__(self, batch, vocab):
        super().__init__()

    def forward(self, x):
        return torch.softmax(x, dim=-1)

BATCH = 8
VOCAB = 64

def get_inputs():
    return [torch.randn(BATCH, VOCAB)]

def get_init_inputs():
    return [BATCH, VOCAB]
"""
SHAPES = """
SHAPES = [
    {"batch": 2, "vocab": 128, "extreme": False},   # sanity
    {"batch": 4, "vocab": 300, "extreme": False},
    {"batch": 4, "vocab": 300, "extreme": True},
]
"""


def write(root: Path, entry: str, precision: str = "fp32", shapes: str = SHAPES) -> Path:
    folder = root / "problems" / entry
    folder.mkdir(parents=True)
    (folder / "reference.py").write_text(REFERENCE)
    (folder / "shapes.py").write_text(shapes)
    (folder / "problem.yaml").write_text(f"name: {entry}\ndisplay_name: Softmax\nprecision: {precision}\n")
    return folder


def load(root: Path, select: Selection = Selection()) -> Loaded:
    return KernelBenchHard().load(root, select)


def shape(task: Task, index: int) -> tuple[int, ...]:
    names: dict[str, object] = {}
    exec(with_sizes(task.source, task.cases[index].sizes), names)
    (x,) = names["get_inputs"]()  # type: ignore[operator]
    assert isinstance(x, torch.Tensor)
    return tuple(x.shape)


def test_rows_become_cases_under_the_references_own_names(tmp_path: Path) -> None:
    write(tmp_path, "04_softmax")
    loaded = load(tmp_path)
    (task,) = loaded.tasks
    assert task.name == "kernelbench-hard/problems/04_softmax"
    assert {shape(task, i) for i in range(len(task.cases))} == {(2, 128), (4, 300)}
    assert any("extreme" in note for note in loaded.notes)


def test_precision_is_the_dtype_that_cases_are_judged_in(tmp_path: Path) -> None:
    write(tmp_path, "01_half", "bf16")
    assert {case.dtypes for case in load(tmp_path).tasks[0].cases} == {("bfloat16",)}


@pytest.mark.parametrize(
    ("precision", "shapes", "missing", "why"),
    [
        ("fp8_e4m3", SHAPES, "", "its precision is fp8_e4m3"),
        ("fp32", "SHAPES = [make(1)]\n", "", "no literal"),
        ("fp32", "ROWS = []\n", "", "no list SHAPES"),
        ("fp32", 'SHAPES = [{"heads": 3}]\n', "", "none of its shapes"),
        ("fp32", SHAPES, "reference.py", "it has no reference.py"),
        ("fp32", SHAPES, "shapes.py", "it has no shapes.py"),
    ],
)
def test_left_out_with_the_reason(tmp_path: Path, precision: str, shapes: str, missing: str, why: str) -> None:
    folder = write(tmp_path, "01_one", precision, shapes)
    if missing:
        (folder / missing).unlink()
    assert why in load(tmp_path).left_out["kernelbench-hard/problems/01_one"]


def test_a_scale_leaves_the_small_rows(tmp_path: Path) -> None:
    write(tmp_path, "04_softmax")
    (task,) = load(tmp_path, Selection(scale=0.3)).tasks
    assert {case.sizes["VOCAB"] for case in task.cases} == {128}


def test_both_layouts_are_read_and_a_wrong_path_is_told(tmp_path: Path) -> None:
    write(tmp_path / "benchmarks" / "hard", "04_softmax")
    assert len(load(tmp_path).tasks) == 1
    with pytest.raises(TaskError, match="holds no"):
        load(tmp_path / "benchmarks" / "hard" / "problems" / "04_softmax")
