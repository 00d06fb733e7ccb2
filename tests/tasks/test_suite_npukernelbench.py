"""NPUKernelBench: a small folder of the same shape, its references executed as the judge does."""

import math
from pathlib import Path

import pytest
import torch

from kernelwright.evaluator.runner.cases import Case
from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task, Use
from kernelwright.tasks.suites.npukernelbench import NpuKernelBench
from kernelwright.tasks.suites.suite import Selection

MODULE = """
from typing import List

import torch
import torch_npu
from torch_npu.contrib import transfer_to_npu
import kernel_gen_ops
import torch.nn as nn


def squash(x):
    return torch.sigmoid(x)


class Model(nn.Module):
    def __init__(self, bias: float):
        super(Model, self).__init__()
        self.bias = bias

    def forward(self, x: torch.Tensor, scale: float) -> List[torch.Tensor]:
        return [squash(x * scale) + self.bias]


class ModelNew(nn.Module):
    def forward(self, x, scale):
        return kernel_gen_ops.squash(x, scale)
"""
PREPARE = """
import numpy as np
import torch
from framework.utils import check_precision


def get_inputs(param, device=None):
    shape = eval(param.get('shape', '[1]'))
    dtype = getattr(torch, param.get('dtype', 'float16'))
    x = torch.tensor(np.random.uniform(-1, 1, shape), device=device).to(dtype)
    return (x, param.get('scale'))


def get_init_inputs(param, device=None):
    return [float(param.get('bias'))]


def custom_check_precision(param, outputs, outputs_new):
    return check_precision(outputs, outputs_new, 0, 0)
"""
CSV = """case_id;shape;dtype;scale;bias;flag;note
0;[48, 64];float16;1.25;2;True;
1;[3, 5];float32;0.5;3;False;text
2;[16];bfloat16;0.75;4;True;None"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    entry(tmp_path, "level1/Math/Squash")
    return tmp_path


def entry(root: Path, where: str, module: str = MODULE, prepare: str = PREPARE, rows: str = CSV) -> None:
    folder = root / "tasks" / where / "validation"
    folder.mkdir(parents=True)
    (folder / "module.py").write_text(module)
    (folder / "prepare_inputs.py").write_text(prepare)
    (folder / "test_cases.csv").write_text(rows)


def only(root: Path) -> Task:
    loaded = NpuKernelBench().load(root, Selection())
    assert not loaded.left_out
    (task,) = loaded.tasks
    return task


def test_an_entry_is_a_task_with_a_case_for_each_row(clone: Path) -> None:
    task = only(clone)
    assert (task.name, task.category) == ("npukernelbench/level1/Squash", "math")
    assert {case.use for case in task.cases} == {Use.CORRECTNESS, Use.TIMING}
    assert not any(module in task.source for module in ("kernel_gen_ops", "torch_npu", "framework"))


def test_every_row_runs_in_its_own_dtype_and_shape(clone: Path) -> None:
    task = only(clone)
    found = {}
    for case in task.cases:
        opened = Case(task, case.sizes, "float32", "cpu", None, seed=1)
        x, scale = opened.arguments(opened.inputs)
        found[x.dtype] = (tuple(x.shape), scale)
        expected = torch.sigmoid(x * scale) + {1.25: 2, 0.5: 3, 0.75: 4}[scale]
        torch.testing.assert_close(opened.expected.eager[0], expected)
        assert torch.equal(x, opened.new_inputs(1)[0])
        assert not torch.equal(x, opened.new_inputs(2)[0])
    assert found == {torch.float16: ((48, 64), 1.25), torch.float32: ((3, 5), 0.5), torch.bfloat16: ((16,), 0.75)}


def test_columns_are_typed_as_upstream_types_them(clone: Path) -> None:
    names: dict[str, object] = {}
    task = only(clone)
    exec(task.source, names)
    variants = names["VARIANTS"]
    assert isinstance(variants, list)
    by_dtype = {row["dtype"]: row for row in variants}
    assert (by_dtype["float32"]["note"], by_dtype["float32"]["flag"]) == ("text", False)
    assert all(math.isnan(by_dtype[dtype]["note"]) for dtype in ("float16", "bfloat16"))
    assert sorted(case.sizes["bias"] for case in task.cases) == [2, 3, 4]


def test_a_reference_that_takes_gradients_may_and_numpy_numbers_become_plain(tmp_path: Path) -> None:
    with torch.no_grad():
        module = MODULE.replace("return [squash(x * scale) + self.bias]", "return torch.autograd.grad(squash(x), x, x)[0]")
        module = module.replace("scale: float) -> List[torch.Tensor]:", "scale):\n        x = x.detach().requires_grad_()")
        prepare = PREPARE.replace("[float(param.get('bias'))]", "[np.float32(param.get('bias'))]")
        entry(tmp_path, "level2/Activation/SquashGrad", module, prepare)
        task = only(tmp_path)
        opened = Case(task, task.cases[0].sizes, "float32", "cpu", None, seed=1)
        (x, _) = opened.arguments(opened.inputs)
        y = torch.sigmoid(x)
        torch.testing.assert_close(opened.expected.eager[0], x * y * (1 - y))


@pytest.mark.parametrize(
    ("module", "prepare", "rows", "why"),
    [
        (MODULE.replace("class Model(", "class Other("), PREPARE, CSV, "no Model"),
        (MODULE + "import scipy.special\n", PREPARE, CSV, "scipy"),
        (MODULE, PREPARE.replace("def get_init_inputs", "def other"), CSV, "get_init_inputs"),
        (MODULE, PREPARE, "case_id,shape\n0,[1]\n", "case_id"),
        (MODULE, PREPARE, "", "no rows"),
        (MODULE + "\n  broken", PREPARE, CSV, "does not parse"),
    ],
)
def test_what_cannot_be_used_is_left_out_and_the_rest_loads(
    clone: Path, module: str, prepare: str, rows: str, why: str
) -> None:
    entry(clone, "level2/Loss/Broken", module, prepare, rows)
    loaded = NpuKernelBench().load(clone, Selection())
    assert [t.name for t in loaded.tasks] == ["npukernelbench/level1/Squash"]
    assert why in loaded.left_out["npukernelbench/level2/Broken"]


def test_a_missing_file_is_named(clone: Path) -> None:
    (clone / "tasks/level1/Math/Squash/validation/test_cases.csv").unlink()
    loaded = NpuKernelBench().load(clone, Selection())
    assert loaded.left_out == {"npukernelbench/level1/Squash": "it has no test_cases.csv"}


def test_levels_are_selected_by_their_folder(clone: Path) -> None:
    entry(clone, "level2/Loss/Other")
    loaded = NpuKernelBench().load(clone, Selection(levels=("level2",)))
    assert [t.name for t in loaded.tasks] == ["npukernelbench/level2/Other"]


def test_a_folder_without_entries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="NPUKernelBench"):
        NpuKernelBench().load(tmp_path, Selection())
