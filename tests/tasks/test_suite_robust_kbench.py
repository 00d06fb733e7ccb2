"""robust-kbench's form: keyword arguments from the product of configs, and upstream's own filters."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import ShapeCase, Task, Use
from kernelwright.tasks.shapes import with_sizes
from kernelwright.tasks.suites.robust_kbench import RobustKBench
from kernelwright.tasks.suites.suite import Loaded, Selection

FORWARD = """
import torch

def forward_fn(x, w):
    return x * w

class Model(torch.nn.Module):
    def __init__(self, width, eps=1e-5, init_method="ones"):
        super(Model, self).__init__()
        self.w = torch.nn.Parameter(torch.ones(width) if init_method == "ones" else torch.full((width,), 2.0))

    def forward(self, x, fn=forward_fn):
        return fn(x, self.w)

def get_inputs(batch: int = 16, width: int = 8):
    return [torch.ones(batch, width)]

input_names = ["x"]
"""
SINGLE = {
    "single_input_configs": [{"batch": 64}],
    "single_init_configs": [{"init_method": "ones"}],
    "single_shared_configs": [{"width": 32}],
}
NO_MULTI = {f"multi_{what}_configs": [{}] for what in ("input", "init", "shared")}
MULTI = {
    "multi_input_configs": [{"batch": 1}, {"batch": 3}],
    "multi_init_configs": [{"init_method": "ones"}, {"init_method": "twos"}],
    "multi_shared_configs": [{"width": 5}, {"width": 32}],
}


def write(root: Path, entry: str, config: Any = SINGLE | MULTI, **filters: bool) -> Path:
    folder = root / "tasks" / entry
    folder.mkdir(parents=True)
    (folder / "func_forward.py").write_text(FORWARD)
    (folder / "config_forward.json").write_text(json.dumps(config))
    if filters:
        (folder / "filter_results.json").write_text(json.dumps(filters))
    return folder


def load(root: Path, select: Selection = Selection()) -> Loaded:
    return RobustKBench().load(root, select)


def outcome(task: Task, case: ShapeCase) -> tuple[tuple[int, ...], float]:
    """Shape and value of the reference's output: all ones times the weight."""
    names: dict[str, Any] = {}
    exec(with_sizes(task.source, case.sizes), names)
    out = names["Model"](*names["get_init_inputs"]())(*names["get_inputs"]())
    assert isinstance(out, torch.Tensor)
    return tuple(out.shape), float(out[0, 0].item())


def test_cases_are_rows_of_the_product_and_shared_arguments_reach_both(tmp_path: Path) -> None:
    write(tmp_path, "scale")
    (task,) = load(tmp_path).tasks
    product = {((b, w), v) for b in (1, 3) for w in (5, 32) for v in (1.0, 2.0)} | {((64, 32), 1.0)}
    found = {outcome(task, case) for case in task.cases}
    assert found <= product
    assert len(found) >= 6
    assert {case.use for case in task.cases} == set(Use)


def test_a_sole_row_gets_further_shapes_derived(tmp_path: Path) -> None:
    write(tmp_path, "scale", SINGLE | NO_MULTI)
    (task,) = load(tmp_path).tasks
    assert outcome(task, task.cases[0]) == ((64, 32), 1.0)
    assert any(case.derived and case.use is Use.HELD_OUT for case in task.cases)


def test_a_scale_cuts_a_sole_row_and_drops_large_ones(tmp_path: Path) -> None:
    write(tmp_path, "sole", SINGLE | NO_MULTI)
    write(tmp_path, "many")
    for task in load(tmp_path, Selection(scale=0.25)).tasks:
        for case in task.cases:
            rows, columns = outcome(task, case)[0]
            assert rows * columns <= 0.25 * 64 * 32


def test_kernelbench_tasks_are_called_as_there(tmp_path: Path) -> None:
    folder = write(tmp_path, "kernelbench/level_1/task_23", SINGLE | NO_MULTI)
    (folder / "23_Softmax.py").write_text("")
    write(tmp_path, "scale")
    assert [t.name for t in load(tmp_path).tasks] == ["robust-kbench/robust/scale", "robust-kbench/level_1/23_Softmax"]
    assert len(load(tmp_path, Selection(levels=("1",), names=("23",))).tasks) == 1


def test_computed_filters_are_honoured_and_a_models_opinion_is_not(tmp_path: Path) -> None:
    write(tmp_path, "flat", filter_output_std=True, filter_output_range=False)
    write(tmp_path, "wordy", filter_llm_inefficiency=True, filter_output_std=False)
    loaded = load(tmp_path)
    assert [task.name for task in loaded.tasks] == ["robust-kbench/robust/wordy"]
    assert "filter_output_std" in loaded.left_out["robust-kbench/robust/flat"]


@pytest.mark.parametrize(
    ("config", "why"),
    [
        (SINGLE | {"single_init_configs": [{"kernel_size": 2}]}, "no row of arguments"),
        (SINGLE | {"single_shared_configs": [{}]}, "no row of arguments"),  # Model's width is never given
        (SINGLE | {"single_init_configs": 3}, "no lists of mappings"),
        ([], "holds no object"),
    ],
)
def test_left_out_with_the_reason(tmp_path: Path, config: Any, why: str) -> None:
    write(tmp_path, "scale", config)
    assert why in load(tmp_path).left_out["robust-kbench/robust/scale"]


def test_torn_json_and_a_wrong_path_are_told(tmp_path: Path) -> None:
    (write(tmp_path, "scale") / "config_forward.json").write_text("{\n")
    assert "config_forward.json: line" in load(tmp_path).left_out["robust-kbench/robust/scale"]
    with pytest.raises(TaskError, match="holds no tasks"):
        load(tmp_path / "tasks" / "scale")
