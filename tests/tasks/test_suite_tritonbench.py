"""TritonBench: functions, tests and benchmarks in a small folder of the same shape, executed as the judge does."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from kernelwright.evaluator.runner.cases import Case
from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import ShapeCase, Task, Use
from kernelwright.tasks.suites.suite import Selection
from kernelwright.tasks.suites.tritonbench import TritonBench

FUNCTION = """
import torch

def scaled_sub(input, other, alpha=1, *, mode="plain", out=None):
    result = input - alpha * other
    return result.abs() if mode == "abs" else result
"""
TEST = """
import torch
from scaled_sub import scaled_sub

def test_scaled_sub():
    results = {}
    torch.manual_seed(0)
    a = torch.randn(5, device='cuda')
    results["test_case_1"] = scaled_sub(a, a)
    results["test_case_2"] = scaled_sub(a, torch.tensor([1.5, 2.0, 3.0, 4.0, 5.0]).cuda(), alpha=3)
    index = torch.tensor([4, 3, 9, 1, 8], device='cuda')
    results["test_case_3"] = scaled_sub(index, 2, mode="abs")
    results["test_case_4"] = scaled_sub(a, a, out=torch.empty(5))
    results["test_case_5"] = scaled_sub(torch.eye(2), a[:2].reshape(1, 2), 0.5).cpu()
    try:
        results["test_case_6"] = scaled_sub("no", "tensors")
    except Exception as e:
        results["test_case_6"] = str(e)
    return results

test_results = test_scaled_sub()
"""
BENCHMARK = """
import sys
from TorchBench_v1.scaled_sub import scaled_sub
from performance_utils import Performance_Metrics, do_bench_config

import torch
import triton

class performance_metrics(Performance_Metrics):
    def __init__(self, dtype=None, is_backward=False, alpha=2, **kwargs):
        super().__init__('scaled_sub', dtype=dtype, is_backward=is_backward, **kwargs)
        self.alpha = alpha

    def get_input_tensors(self):
        self.input_tensors = []
        for i in range(4, 20):
            size = 2 ** i
            self.input_tensors.append((torch.rand(size), torch.rand(size, dtype=self.dtype)))

    def to_cuda(self, pair):
        return tuple(t.cuda() for t in pair)

    def call_op(self, pair):
        a, b = pair
        return scaled_sub(a, b, alpha=self.alpha)

if __name__ == '__main__':
    performance_metrics().run_benchmark()
"""


def write(root: Path, name: str, function: str = FUNCTION, test: str = TEST, benchmark: str | None = BENCHMARK) -> None:
    files = {f"data/TritonBench_T_v1/{name}.py": f"{function}\n{'#' * 146}\n{test}"}
    if benchmark is not None:
        files[f"performance_metrics/perf_T/golden_metrics/{name}_perf.py"] = benchmark
    for where, text in files.items():
        file = root / where
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)


@pytest.fixture
def clone(tmp_path: Path) -> Path:
    write(tmp_path, "scaled_sub")
    kernel = tmp_path / "data/TritonBench_G_v1/add_example.py"
    kernel.parent.mkdir()
    kernel.write_text("import triton\n")
    return tmp_path


@pytest.fixture(autouse=True)
def _no_grad() -> Iterator[None]:
    with torch.no_grad():
        yield


def only(clone: Path, scale: float | None = 0.01) -> Task:
    (task,) = TritonBench().load(clone, Selection(levels=("T",), scale=scale)).tasks
    return task


def opened(task: Task, case: ShapeCase, seed: int = 1) -> Case:
    return Case(task, case.sizes, case.dtypes[0], "cpu", None, seed=seed)


def test_inputs_are_those_of_the_benchmark_and_of_the_test(clone: Path) -> None:
    task = only(clone)
    found = {}
    for case in task.cases_for("cpu", Use.CORRECTNESS):
        judged = opened(task, case)
        a, b, alpha, mode = judged.arguments(judged.inputs)
        expected = (a - alpha * b).abs() if mode == "abs" else a - alpha * b
        torch.testing.assert_close(judged.expected.eager[0], expected)
        found[case.name] = (tuple(a.shape), alpha, mode)
    assert found == {
        "size=4": ((16,), 2, "plain"),
        "test call 2": ((5,), 3, "plain"),
        "test call 3": ((5,), 1, "abs"),
        "test call 5": ((2, 2), 0.5, "plain"),
    }


def test_what_the_test_writes_down_is_drawn_anew_near_it(clone: Path) -> None:
    task = only(clone)
    cases = {case.name: case for case in task.cases}
    first, second = (opened(task, cases["test call 2"], seed).inputs[1] for seed in (1, 2))
    assert not torch.equal(first, second)
    assert bool(((first <= torch.tensor([1.5, 2, 3, 4, 5])) & (first >= 0.9 * torch.tensor([1.5, 2, 3, 4, 5]))).all())
    draws = [opened(task, cases["test call 3"], seed).inputs[0] for seed in range(4)]
    assert len({tuple(d.tolist()) for d in draws}) > 1
    assert all(sorted(d.tolist()) == [1, 3, 4, 8, 9] for d in draws)
    eyes = [opened(task, cases["test call 5"], seed).inputs[0] for seed in (1, 2)]
    assert torch.equal(eyes[0], torch.eye(2))
    assert torch.equal(*eyes)


def test_random_inputs_of_the_test_differ_although_it_sets_a_seed(clone: Path) -> None:
    task = only(clone)
    case = next(c for c in task.cases if c.name == "test call 2")
    assert not torch.equal(opened(task, case, 1).inputs[0], opened(task, case, 2).inputs[0])


def test_sizes_to_time_and_to_hold_out_come_from_the_benchmarks_loop(clone: Path) -> None:
    task = only(clone, None)
    sizes = {use: [c.sizes["benchmark_size"] for c in task.cases if c.use is use] for use in Use}
    assert max(sizes[Use.TIMING]) == 19
    assert sizes[Use.HELD_OUT]
    assert not set(sizes[Use.HELD_OUT]) & {*sizes[Use.TIMING], sizes[Use.CORRECTNESS][0]}
    assert "range(4, 20)" not in task.source
    assert max(c.sizes["benchmark_size"] for c in only(clone, 2**-10).cases) == 9


def test_a_benchmark_in_half_precision_is_judged_in_it(clone: Path) -> None:
    write(clone, "scaled_sub", benchmark=BENCHMARK.replace("torch.rand(size)", "torch.rand(size, dtype=torch.float16)"))
    dtypes = {case.name: case.dtypes for case in only(clone).cases if case.use is Use.CORRECTNESS}
    assert dtypes["size=4"] == ("float16",)
    assert dtypes["test call 2"] == ("float32",)


def test_a_function_named_like_a_builtin_works(clone: Path) -> None:
    texts = [text.replace("scaled_sub", "max") for text in (FUNCTION, TEST, BENCHMARK)]
    write(clone, "max", *texts)
    task = TritonBench().load(clone, Selection(names=("max",), scale=0.01)).tasks[0]
    assert [opened(task, c).expected.eager[0].numel() for c in task.cases_for("cpu", Use.CORRECTNESS)] == [16, 5, 5, 4]


def test_calls_without_pivoting_are_for_gpus_and_so_are_those_that_follow(clone: Path) -> None:
    function = FUNCTION.replace("scaled_sub", "lu").replace('mode="plain"', "pivot=True").replace('mode == "abs"', "pivot")
    test = TEST.replace("scaled_sub", "lu").replace('mode="abs"', "pivot=False")
    write(clone, "lu", function, test, BENCHMARK.replace("scaled_sub", "lu"))
    task = TritonBench().load(clone, Selection(names=("lu",))).tasks[0]
    devices = {case.name: case.device for case in task.cases if "call" in case.name}
    assert devices == {"test call 2": None, "test call 3": "cuda", "test call 5": "cuda"}


def test_triton_code_has_no_reference(clone: Path) -> None:
    loaded = TritonBench().load(clone, Selection())
    assert list(loaded.left_out) == ["tritonbench/G/add_example"]
    assert "no torch reference" in loaded.left_out["tritonbench/G/add_example"]


@pytest.mark.parametrize(
    ("name", "function", "test", "benchmark", "why"),
    [
        ("scaled_sub", FUNCTION.replace("input -", "torch.dropout(input, 0.5, True) -"), TEST, BENCHMARK, "random (dropout)"),
        ("svd", FUNCTION, TEST, BENCHMARK, "unique but for signs"),
        ("other", FUNCTION, TEST, BENCHMARK, "does not define other"),
        ("scaled_sub", FUNCTION.replace("*, mode", "*many, mode"), TEST, BENCHMARK, "fixed number of arguments"),
        ("scaled_sub", FUNCTION, "x = 1\n", BENCHMARK, "0 test functions"),
        ("scaled_sub", FUNCTION, f"{'#' * 146}\n{TEST}", BENCHMARK, "2 lines of 146 #"),
        ("scaled_sub", FUNCTION, TEST, None, "it has no scaled_sub_perf.py"),
        ("scaled_sub", FUNCTION, TEST, BENCHMARK.replace("range(4, 20)", "[4, 5]"), "no loop over a range"),
        ("scaled_sub", FUNCTION, TEST, BENCHMARK.replace("range(4, 20)", "range(10**9)"), "expected 1 to 1000 sizes"),
        ("scaled_sub", FUNCTION + "\n  broken", TEST, BENCHMARK, "does not parse"),
    ],
)
def test_left_out_with_the_reason(tmp_path: Path, name: str, function: str, test: str, benchmark: str | None, why: str) -> None:
    write(tmp_path, name, function, test, benchmark)
    loaded = TritonBench().load(tmp_path, Selection())
    assert not loaded.tasks
    assert why in loaded.left_out[f"tritonbench/T/{name}"]


def test_a_wrong_path_and_another_suite_of_the_name_are_told(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="no folder"):
        TritonBench().load(tmp_path / "missing", Selection())
    (tmp_path / "tritonbench" / "operators").mkdir(parents=True)
    with pytest.raises(TaskError, match="TritonBench_T_v1.*thunlp"):
        TritonBench().load(tmp_path, Selection())
