"""GPU MODE's problems: a small folder of the same shape, its references executed as the judge does."""

from pathlib import Path

import pytest
import torch

from kernelwright.evaluator.runner.cases import Case
from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task, Use
from kernelwright.tasks.suites.gpumode import GpuMode
from kernelwright.tasks.suites.suite import Selection

UTILS = """
import numpy as np
import torch


def verbose_allclose(received, expected):
    return [] if torch.allclose(received, expected) else ["mismatch"]


def make_match_reference(reference, **kwargs):
    return lambda data, output: not verbose_allclose(output, reference(data))


def halved(t):
    return t * FACTOR


FACTOR = 0.5


class DeterministicContext:
    def __enter__(self):
        raise AssertionError("must not slow the reference")

    def __exit__(self, *args):
        pass
"""
TYPES = """
from typing import TypeVar

input_t = TypeVar("input_t")
output_t = TypeVar("output_t")
"""
REFERENCE = """
from utils import make_match_reference, DeterministicContext, halved
import torch
from task import input_t, output_t


def ref_kernel(data: input_t) -> output_t:
    with DeterministicContext():
        a, b, config = data
        return halved(a + b.to("cuda") * config["alpha"])


def generate_input(size: int, alpha: float, seed: int) -> input_t:
    gen = torch.Generator(device="cuda")
    gen.manual_seed(seed)
    a = torch.randn(size, size, device="cuda", generator=gen)
    b = torch.randn(size, size, device="cuda", generator=gen)
    return a, b, {"alpha": alpha}


check_implementation = make_match_reference(ref_kernel, rtol=1e-3)
"""
TASK_YML = """
files:
  - {"name": "submission.py", "source": "@SUBMISSION@"}
  - {"name": "task.py", "source": "task.py"}
  - {"name": "utils.py", "source": "../utils.py"}
  - {"name": "reference.py", "source": "reference.py"}
description: |
  Add two matrices,
  then halve. All sizes
  are odd.

  Input: a tuple.
tests:
  - {"size": 3, "alpha": 0.5, "seed": 4242}
  - {"size": 5, "alpha": 0.5, "seed": 5236}
  - {"size": 77, "alpha": 2.5, "seed": 1001}
benchmarks:
  - {"size": 16, "alpha": 0.5, "seed": 54352}
  - {"size": 32, "alpha": 0.5, "seed": 54352}
"""


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    problem(tmp_path, "add_py")
    (tmp_path / "problems/pmpp/utils.py").write_text(UTILS)
    return tmp_path


def problem(root: Path, entry: str, reference: str = REFERENCE, task: str = TASK_YML) -> None:
    folder = root / "problems/pmpp" / entry
    folder.mkdir(parents=True)
    (folder / "reference.py").write_text(reference)
    (folder / "task.py").write_text(TYPES)
    (folder / "task.yml").write_text(task)


def only(root: Path, select: Selection = Selection()) -> Task:
    loaded = GpuMode().load(root, select)
    assert not loaded.left_out
    (task,) = loaded.tasks
    return task


def test_a_problem_is_a_task_whose_cases_are_its_tests_and_benchmarks(clone: Path) -> None:
    task = only(clone)
    assert (task.name, task.category) == ("gpumode/pmpp/add_py", "pmpp")
    assert task.summary == "Add two matrices, then halve."
    sizes = {use: [c.sizes["size"] for c in task.cases if c.use is use] for use in Use}
    assert sizes == {Use.CORRECTNESS: [3, 5], Use.TIMING: [16, 32], Use.HELD_OUT: [77]}
    assert "77" not in task.source


def test_the_reference_runs_with_its_helpers_and_each_draw_differs(clone: Path) -> None:
    task = only(clone)
    for case in task.cases:
        opened = Case(task, case.sizes, "float32", "cpu", None, seed=1)
        (a, b, config) = opened.arguments(opened.inputs)[0]
        assert a.shape == (case.sizes["size"],) * 2
        assert config["alpha"] == (2.5 if case.sizes["size"] == 77 else 0.5)
        torch.testing.assert_close(opened.expected.eager[0], (a + b * config["alpha"]) / 2)
        assert not torch.equal(a, opened.new_inputs(2)[0][0])
        assert torch.equal(a, opened.new_inputs(1)[0][0])


def test_cases_that_differ_in_their_seed_alone_are_one(clone: Path) -> None:
    problem(clone, "twice_py", task=TASK_YML.replace('"size": 32', '"size": 16'))
    (task,) = GpuMode().load(clone, Selection(names=("twice_py",))).tasks
    assert [c.sizes["size"] for c in task.cases if c.use is Use.TIMING] == [16]


def test_a_seed_that_is_added_to_values_leaves_them_their_digits(clone: Path) -> None:
    problem(clone, "shifted_py", REFERENCE.replace("return a, b", "return a + seed, b"))
    (task,) = GpuMode().load(clone, Selection(names=("shifted_py",))).tasks
    opened = Case(task, task.cases[-1].sizes, "float32", "cpu", None, seed=2**31 - 1)
    assert len(opened.inputs[0].unique()) > 500


def test_what_only_upstream_checks_with_is_left_out(clone: Path) -> None:
    source = only(clone).source
    assert "verbose_allclose" not in source
    assert "check_implementation" not in source


@pytest.mark.parametrize(
    ("reference", "task", "why"),
    [
        (REFERENCE.replace("import torch\n", "import torch\nimport aiter\n"), TASK_YML, "aiter"),
        (REFERENCE, TASK_YML + "multi_gpu: true\n", "several GPUs"),
        (REFERENCE.replace("def ref_kernel", "def another"), TASK_YML, "ref_kernel"),
        (REFERENCE.replace("make_match_reference(ref_kernel, rtol=1e-3)", "lambda data, output: True"), TASK_YML, "property"),
        (REFERENCE + "\n  broken", TASK_YML, "does not parse"),
        (REFERENCE, "tests: [", "no YAML"),
        (REFERENCE, "tests: 3", "list"),
        (REFERENCE, "lang: py", "neither tests nor benchmarks"),
    ],
)
def test_what_cannot_be_judged_is_left_out_and_the_rest_loads(clone: Path, reference: str, task: str, why: str) -> None:
    problem(clone, "broken_py", reference, task)
    loaded = GpuMode().load(clone, Selection())
    assert [t.name for t in loaded.tasks] == ["gpumode/pmpp/add_py"]
    assert why in loaded.left_out["gpumode/pmpp/broken_py"]


def test_a_helper_that_is_not_there_is_named(clone: Path) -> None:
    (clone / "problems/pmpp/utils.py").unlink()
    loaded = GpuMode().load(clone, Selection())
    assert "cannot be read" in loaded.left_out["gpumode/pmpp/add_py"]


def test_a_folder_without_problems_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="reference-kernels"):
        GpuMode().load(tmp_path, Selection())


def test_a_selection_leaves_the_others_unread(clone: Path) -> None:
    problem(clone, "broken_py", "(")
    assert only(clone, Selection(names=("add_py",))).name.endswith("add_py")
    assert not GpuMode().load(clone, Selection(levels=("nvidia",))).tasks


def test_a_scale_takes_the_small_cases(clone: Path) -> None:
    sizes = [case.sizes["size"] for case in only(clone, Selection(scale=0.1)).cases]
    assert max(sizes) == 5
