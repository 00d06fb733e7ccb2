"""What suites state as their own rule, read from small folders of the same shape."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from kernelwright.tasks.codec import from_json, to_json
from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import Task
from kernelwright.tasks.suites.flashinfer_trace import FlashinferTrace
from kernelwright.tasks.suites.gpumode import GpuMode
from kernelwright.tasks.suites.kernelbench import KernelBench
from kernelwright.tasks.suites.kernelbench_hard import KernelBenchHard
from kernelwright.tasks.suites.multikernelbench import MultiKernelBench
from kernelwright.tasks.suites.npukernelbench import NpuKernelBench
from kernelwright.tasks.suites.robust_kbench import RobustKBench
from kernelwright.tasks.suites.sol_execbench import SolExecBench
from kernelwright.tasks.suites.upstream import Rule, Tolerance

USUAL = "inputs = reference.get_inputs()\nfor seed in (42, 123, 456):\n    check_correctness(a, b)\n"


def task(path: str, source: str = "", category: str = "") -> Task:
    return Task("suite/level/entry", source, path, (), category)


def put(root: Path, name: str, text: str) -> Path:
    path = root / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def test_kernelbench_has_one_rule_for_all(tmp_path: Path) -> None:
    rule = KernelBench().upstream(task("x.py"), tmp_path)
    assert (rule.trials, rule.seed, rule.cast, rule.first) == (5, 42, True, "reference")
    assert rule.tolerance["float32"] == Tolerance(1e-4, 1e-4)
    assert rule.clock is not None
    assert (rule.clock.statistic, rule.clock.repeats) == ("mean", 100)
    assert from_json(Rule, json.loads(json.dumps(to_json(rule)))) == rule  # a bench keeps it


@pytest.mark.parametrize(
    ("check", "atol", "rtol"),
    [
        ("check_implementation = make_match_reference(ref_kernel, rtol=2e-02, atol=1e-03)", 1e-3, 2e-2),
        ("check_implementation = make_match_reference(ref_kernel)", 1e-8, 1e-5),
        ("def check_implementation(data, output):\n    return verbose_allequal(output, ref_kernel(data))", 0.0, 0.0),
    ],
)
def test_gpumode_says_its_tolerance_in_the_check(tmp_path: Path, check: str, atol: float, rtol: float) -> None:
    put(tmp_path, "problems/g/p/reference.py", f"def ref_kernel(data):\n    return data\n\n\n{check}\n")
    found = task("problems/g/p/reference.py")
    assert GpuMode().upstream(found, tmp_path).tolerance[""] == Tolerance(atol, rtol)
    put(tmp_path, "problems/g/eval.py", "output = custom_kernel(data)\n")
    assert not GpuMode().upstream(found, tmp_path).cloned
    put(tmp_path, "problems/g/eval.py", "output = custom_kernel(_clone_data(data))\n")
    assert GpuMode().upstream(found, tmp_path).cloned


@pytest.mark.parametrize(
    "check",
    [
        "def check_implementation(data, output):\n    return output.sum() == 1",
        "def check_implementation(data, output):\n    t = 1e-3\n    return match_reference(data, output, rtol=t)",
        "def check_implementation(data, output):\n    for o in output:\n        verbose_allclose(o, o)",
        "pass",
    ],
)
def test_a_check_of_its_own_cannot_be_computed(tmp_path: Path, check: str) -> None:
    put(tmp_path, "reference.py", f"{check}\n")
    with pytest.raises(TaskError, match="check_implementation|code of its own"):
        GpuMode().upstream(task("reference.py"), tmp_path)


def test_kernelbench_hard_has_tolerances_and_forbidden_words_of_the_problem(tmp_path: Path) -> None:
    put(tmp_path, "p/check.py", USUAL)
    found = task("p/reference.py")
    assert KernelBenchHard().upstream(found, tmp_path).tolerance["bfloat16"] == Tolerance(1e-2, 1e-2)
    own = "tolerance:\n  bfloat16: 0.02\n  torch.float32: {atol: 1.0e-5, rtol: 1.0e-6}\nforbidden: [torch.softmax]\n"
    put(tmp_path, "p/problem.yaml", own)
    rule = KernelBenchHard().upstream(found, tmp_path)
    assert (rule.tolerance["bfloat16"], rule.tolerance["float32"]) == (Tolerance(0.02, 0.02), Tolerance(1e-5, 1e-6))
    assert (rule.forbidden, rule.weights) == (("torch.softmax",), "copied")
    put(tmp_path, "p/check.py", USUAL.replace("reference.get_inputs()", "_make_inputs()"))
    with pytest.raises(TaskError, match="of its own"):
        KernelBenchHard().upstream(found, tmp_path)


def test_sol_execbench_has_the_tolerance_of_its_workloads(tmp_path: Path) -> None:
    def rule(*rows: Any) -> Rule:
        put(tmp_path, "p/workload.jsonl", "".join(json.dumps({"axes": {}, **row}) + "\n" for row in rows))
        return SolExecBench().upstream(task("p/definition.json"), tmp_path)

    assert rule({}, {}).tolerance[""] == Tolerance(1e-2, 1e-2)
    own = {"tolerance": {"max_atol": 1e-3, "required_matched_ratio": 0.9, "max_error_cap": 2}}
    assert (rule(own, own).share, rule(own).cap, rule(own).tolerance[""].atol) == (0.9, 2.0, 1e-3)
    with pytest.raises(TaskError, match="differ"):
        rule(own, {})
    with pytest.raises(TaskError, match="infinities"):
        rule({"tolerance": {"allow_negative_inf": True}})


def test_npukernelbench_entries_may_check_by_themselves(tmp_path: Path) -> None:
    put(tmp_path, "v/prepare_inputs.py", "def get_inputs(param, device):\n    pass\n")
    assert NpuKernelBench().upstream(task("v/module.py"), tmp_path).either
    put(tmp_path, "v/prepare_inputs.py", "def custom_check_precision(param, a, b):\n    pass\n")
    with pytest.raises(TaskError, match="custom_check_precision"):
        NpuKernelBench().upstream(task("v/module.py"), tmp_path)


@pytest.mark.parametrize(
    ("stated", "expected"),
    [
        (lambda p: RobustKBench().upstream(task("x"), p), {"first": "both", "fresh": True, "trials": 5}),
        (lambda p: MultiKernelBench().upstream(task("x"), p), {"trials": 5, "listed": False, "seed": 1024}),
        (lambda p: MultiKernelBench().upstream(task("x", "def get_input_groups(): ..."), p), {"trials": 1, "listed": True}),
        (lambda p: FlashinferTrace().upstream(task("x", category="gemm"), p), {"trials": 3, "either": True, "finite": True}),
    ],
)
def test_others(tmp_path: Path, stated: Callable[[Path], Rule], expected: dict[str, Any]) -> None:
    rule = stated(tmp_path)
    assert {key: getattr(rule, key) for key in expected} == expected


def test_definitions_with_evaluators_of_their_own_have_no_rule(tmp_path: Path) -> None:
    with pytest.raises(TaskError, match="evaluator of its own"):
        FlashinferTrace().upstream(task("x", category="sampling"), tmp_path)
