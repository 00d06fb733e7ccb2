"""MultiKernelBench's form: plain files, and input groups that read the JSON Lines beside them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import ShapeCase, Task, Use
from kernelwright.tasks.shapes import with_sizes
from kernelwright.tasks.suites.multikernelbench import MultiKernelBench
from kernelwright.tasks.suites.suite import Selection

PLAIN = """
import torch

class Model(torch.nn.Module):
    def forward(self, x):
        return torch.relu(x)

size = 4096

def get_inputs():
    return [torch.rand(16, size)]

def get_init_inputs():
    return []
"""
GROUPED = """
import torch
import json
import os

class Model(torch.nn.Module):
    def forward(self, x, threshold):
        return torch.where(x > threshold, x, 0)

def get_input_groups():
    json_path = os.path.join(os.path.dirname(__file__), "1_threshold.json")
    with open(json_path, "r") as f:
        cases = [json.loads(line) for line in f if line.strip()]
    groups = []
    for case in cases:
        x, threshold = case["inputs"]
        groups.append([torch.randn(x["shape"], dtype=getattr(torch, x["dtype"])), threshold["value"]])
    return groups

def get_init_inputs():
    return []
"""


def row(*shape: int, dtype: str = "float32", value: float = 0.5) -> dict[str, Any]:
    x = {"name": "x", "type": "tensor", "dtype": dtype, "shape": list(shape)}
    return {"inputs": [x, {"name": "threshold", "type": "attr", "dtype": "float", "value": value}]}


ROWS = [row(n, 7919 + n) for n in range(1, 13)] + [row(), row(0, 4), row(64, 64, dtype="float16", value=0.25)]


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    def write(name: str, text: str) -> None:
        file = tmp_path / "reference" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    write("activation/relu.py", PLAIN)
    write("activation/_helper.py", "no task\n")
    write("level0/1_threshold.py", GROUPED)
    write("level0/1_threshold.json", "\n".join(json.dumps(r) for r in ROWS) + "\n")
    write("level0/2_npu.py", GROUPED.replace("import json", "import json\nimport no_such_npu"))
    write("level0/3_alone.py", GROUPED)
    write("level0/4_torn.py", GROUPED)
    write("level0/4_torn.json", '{"inputs": [}\n')
    return tmp_path


def grouped(clone: Path, scale: float | None = None) -> Task:
    return MultiKernelBench().load(clone, Selection(names=("1_threshold",), scale=scale)).tasks[0]


def drawn(task: Task, case: ShapeCase) -> list[Any]:
    names: dict[str, Any] = {}
    exec(with_sizes(task.source, case.sizes), names)
    found: list[Any] = names["get_inputs"]()
    return found


def test_plain_files_load_and_helpers_are_passed_over(clone: Path) -> None:
    loaded = MultiKernelBench().load(clone, Selection(levels=("activation",)))
    assert [task.name for task in loaded.tasks] == ["multikernelbench/activation/relu"]
    assert loaded.left_out == {}


def test_each_case_draws_the_inputs_of_its_own_row(clone: Path) -> None:
    task = grouped(clone)
    wanted = {(tuple(x["shape"]), x["dtype"], t["value"]) for x, t in (r["inputs"] for r in ROWS)}
    found = []
    for case in task.cases:
        x, threshold = drawn(task, case)
        found.append((tuple(x.shape), str(x.dtype).removeprefix("torch."), threshold))
        assert case.dtypes == (found[-1][1],)
    assert set(found) <= wanted
    assert len(set(found)) > 4


def test_rows_without_elements_are_no_cases(clone: Path) -> None:
    task = grouped(clone)
    assert all(drawn(task, case)[0].numel() > 0 for case in task.cases)


def test_sizes_of_held_out_cases_do_not_stand_in_the_text(clone: Path) -> None:
    task = grouped(clone)
    hidden = [c for c in task.cases if c.use is Use.HELD_OUT]
    assert hidden
    for case in hidden:
        rows, columns = drawn(task, case)[0].shape
        assert columns > 7919
        assert str(columns) not in task.source
        assert all(tuple(drawn(task, c)[0].shape) != (rows, columns) for c in task.cases if c.use is not Use.HELD_OUT)


def test_a_scale_leaves_the_smaller_rows(clone: Path) -> None:
    task = grouped(clone, 0.1)
    assert max(drawn(task, case)[0].numel() for case in task.cases) <= 0.1 * 12 * 7931


@pytest.mark.parametrize(
    ("entry", "why"),
    [("2_npu", "it needs no_such_npu"), ("3_alone", "it has no 3_alone.json"), ("4_torn", "4_torn.json: line 1")],
)
def test_left_out_with_the_reason(clone: Path, entry: str, why: str) -> None:
    assert why in MultiKernelBench().load(clone, Selection()).left_out[f"multikernelbench/level0/{entry}"]


def test_a_wrong_path_is_told(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="holds no reference"):
        MultiKernelBench().load(tmp_path, Selection())
