"""HPCTransCompile: the functional references of KernelBench_c, in a small folder of the same shape."""

from pathlib import Path

import pytest
import torch

from kernelwright.evaluator.runner.cases import Case
from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.suites.hpctranscompile import HpcTransCompile
from kernelwright.tasks.suites.suite import Selection, open_suite

REFERENCE = """
import torch
import torch.nn as nn
import torch.nn.functional as F


def module_fn(x, weight):
    return F.linear(x, weight).tanh()


class Model(nn.Module):
    def __init__(self, width):
        super(Model, self).__init__()
        self.weight = nn.Parameter(torch.randn(width, width))

    def forward(self, x, fn=module_fn):
        return fn(x, self.weight)


batch_size = 512
width = 256


def get_inputs():
    return [torch.randn(batch_size, width)]


def get_init_inputs():
    return [width]
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    for level, name, text in (
        ("level1", "2_Linear_tanh", REFERENCE),
        ("level1", "10_Other", REFERENCE),
        ("level2", "1_Mamba", REFERENCE + "from no_such_package import rearrange\n"),
    ):
        for folder, suffix, content in (("EvalEngine/torch_functionals", "py", text), ("KernelBench_c", "cu", "// CUDA\n")):
            file = tmp_path / folder / level / f"{name}.{suffix}"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(content)
    return tmp_path


def test_references_load_by_level_and_the_rest_is_told(clone: Path) -> None:
    loaded = HpcTransCompile().load(clone, Selection())
    names = ["hpctranscompile/level1/2_Linear_tanh", "hpctranscompile/level1/10_Other"]
    assert [task.name for task in loaded.tasks] == names
    assert loaded.left_out == {"hpctranscompile/level2/1_Mamba": "it needs no_such_package, not installed here"}
    assert [t.name for t in HpcTransCompile().load(clone, Selection(names=("2",))).tasks] == names[:1]


def test_the_reference_runs_as_the_judge_runs_it(clone: Path) -> None:
    with torch.no_grad():
        task = HpcTransCompile().load(clone, Selection(names=("2",), scale=0.01)).tasks[0]
        opened = Case(task, task.cases[0].sizes, "float32", "cpu", None, seed=1)
        (x,) = opened.arguments(opened.inputs)
        assert x.shape[0] < 512
        torch.testing.assert_close(opened.expected.eager[0], (x @ opened.model.weight.t()).tanh())


def test_the_suite_is_found_by_its_name(clone: Path) -> None:
    assert len(open_suite("hpctranscompile").load(clone, Selection(levels=("1",))).tasks) == 2


def test_a_wrong_path_and_another_version_are_told(tmp_path: Path, clone: Path) -> None:
    with pytest.raises(TaskError, match="no folder"):
        HpcTransCompile().load(tmp_path / "missing", Selection())
    with pytest.raises(TaskError, match="holds no EvalEngine/torch_functionals"):
        HpcTransCompile().load(clone / "KernelBench_c" / "level1", Selection())
    for file in clone.glob("EvalEngine/torch_functionals/*/*.py"):
        file.rename(file.with_name("reference.py"))
    with pytest.raises(TaskError, match="hold no <id>_<name>.py"):
        HpcTransCompile().load(clone, Selection())


def test_its_rule_is_one_for_all(clone: Path) -> None:
    suite = HpcTransCompile()
    rule = suite.upstream(suite.load(clone, Selection(names=("2",))).tasks[0], clone)
    assert (rule.trials, rule.tolerance[""].atol, rule.tolerance[""].rtol) == (5, 1e-2, 1e-2)
