"""flashinfer-trace and SOL-ExecBench: small folders of the same shape, their references executed as the judge does."""

import json
import struct
from pathlib import Path
from typing import Any

import pytest
import torch

from kernelwright.evaluator.runner.cases import Case
from kernelwright.evaluator.runner.execute import execute
from kernelwright.tasks.errors import TaskError
from kernelwright.tasks.records import ShapeCase, Task, Use
from kernelwright.tasks.suites.flashinfer_trace import FlashinferTrace
from kernelwright.tasks.suites.sol_execbench import SolExecBench
from kernelwright.tasks.suites.suite import Selection

NORM: dict[str, Any] = {
    "name": "rmsnorm_h8",
    "op_type": "rmsnorm",
    "description": "RMS norm.",
    "axes": {"batch_size": {"type": "var"}, "hidden_size": {"type": "const", "value": 8}},
    "inputs": {
        "x": {"shape": ["batch_size", "hidden_size"], "dtype": "bfloat16"},
        "weight": {"shape": ["hidden_size"], "dtype": "bfloat16"},
        "eps": {"shape": None, "dtype": "float32"},
    },
    "outputs": {"output": {"shape": ["batch_size", "hidden_size"], "dtype": "bfloat16"}},
    "reference": "import torch\n\n@torch.no_grad()\ndef run(x, weight, eps):\n    y = x.float()\n"
    "    y = y * torch.rsqrt(y.pow(2).mean(-1, keepdim=True) + eps)\n    return {'output': (y * weight.float()).to(x.dtype)}\n",
}
GATHER: dict[str, Any] = {
    "name": "gather",
    "op_type": "gather",
    "axes": {"n": {"type": "var"}, "m": {"type": "var"}},
    "inputs": {"x": {"shape": ["n"], "dtype": "float32"}, "index": {"shape": ["m"], "dtype": "int32"}},
    "outputs": {"y": {"shape": ["m"], "dtype": "float32"}},
    "reference": "def run(x, index):\n    return x[index.long()]\n",
}
ROPE: dict[str, Any] = {
    "name": "rope",
    "axes": {
        "half": {"type": "expr", "expression": "width // 2"},
        "rows": {"type": "var"},
        "width": {"type": "expr", "expression": "heads * 4"},
        "heads": {"type": "const", "value": 3},
    },
    "custom_inputs_entrypoint": "generate",
    "inputs": {
        "x": {"shape": ["rows", "width"], "dtype": "float32"},
        "variance": {"shape": ["half"], "dtype": "float32"},
        "index": {"shape": ["rows"], "dtype": "int64"},
    },
    "outputs": {"y": {"shape": ["rows", "half"], "dtype": "float32"}},
    "reference": "import torch\n\ndef generate(axes, device):\n    order = torch.randperm(axes['rows'], device=device)\n"
    "    assert axes['half'] == 6\n    return {'index': order}\n\n"
    "def run(x, variance, index):\n    return x[index][:, :6] * variance.sqrt()\n",
}


def norm_workload(batch: int, eps: float = 1e-6) -> dict[str, Any]:
    inputs = {"x": {"type": "random"}, "weight": {"type": "random"}, "eps": {"type": "scalar", "value": eps}}
    return {"uuid": str(batch), "axes": {"batch_size": batch}, "inputs": inputs}


def rope_workload(rows: int) -> dict[str, Any]:
    inputs = {"x": {"type": "random"}, "variance": {"type": "random"}, "index": {"type": "custom"}}
    return {"uuid": "w", "axes": {"rows": rows}, "inputs": inputs}


def write(folder: Path, definition: Any, workloads: list[Any], definition_file: str, workload_file: str) -> None:
    for name, text in (
        (definition_file, json.dumps(definition)),
        (workload_file, "".join(json.dumps(w) + "\n" for w in workloads)),
    ):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)


def trace(root: Path, definition: Any, workloads: list[Any], op: str = "op", file: str = "") -> None:
    stem = definition["name"]
    lines = [{"definition": stem, "solution": None, "workload": w, "evaluation": None} for w in workloads]
    write(root, definition, lines, f"definitions/{op}/{stem}.json", file or f"workloads/{op}/{stem}.jsonl")


def safetensors(path: Path, key: str, values: list[int]) -> None:
    header = json.dumps({key: {"dtype": "I32", "shape": [len(values)], "data_offsets": [0, 4 * len(values)]}}).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(struct.pack("<Q", len(header)) + header + struct.pack(f"<{len(values)}i", *values))


def only(suite: FlashinferTrace | SolExecBench, root: Path) -> Task:
    loaded = suite.load(root, Selection())
    assert not loaded.left_out
    (task,) = loaded.tasks
    return task


def opened(task: Task, case: ShapeCase) -> tuple[Case, list[Any]]:
    found = Case(task, case.sizes, "float32", "cpu", None, seed=1)
    return found, found.arguments(found.inputs)


def test_a_definition_is_a_task_whose_cases_are_workloads(tmp_path: Path) -> None:
    trace(tmp_path, NORM, [norm_workload(7, 0.25), norm_workload(1), norm_workload(3), norm_workload(6007)], "rmsnorm")
    task = only(FlashinferTrace(), tmp_path)
    assert (task.name, task.category) == ("flashinfer-trace/rmsnorm/rmsnorm_h8", "rmsnorm")
    assert task.summary == "RMS norm."
    assert {c.sizes["batch_size"]: c.use for c in task.cases} == {
        1: Use.CORRECTNESS,
        3: Use.CORRECTNESS,
        7: Use.TIMING,
        6007: Use.TIMING,
    }
    for case in task.cases[:3]:
        found, (x, weight, eps) = opened(task, case)
        assert x.dtype == weight.dtype == torch.bfloat16
        assert x.shape == (case.sizes["batch_size"], 8)
        assert eps == (0.25 if case.sizes["batch_size"] == 7 else 1e-6)
        y = x.float() * torch.rsqrt(x.float().pow(2).mean(-1, keepdim=True) + eps)
        torch.testing.assert_close(found.expected.eager[0], (y * weight.float()).bfloat16())
        assert "dict" in found.expected.tree


def test_workloads_of_an_older_set_are_found(tmp_path: Path) -> None:
    trace(tmp_path, NORM, [norm_workload(2)], file="traces/workloads/norm/rmsnorm_h8.workload.jsonl")
    assert only(FlashinferTrace(), tmp_path).cases[0].sizes["batch_size"] == 2


def test_stored_inputs_are_read_from_their_files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    safetensors(tmp_path / "blob/a.safetensors", "index", [4, 0, 2])
    stored = {"type": "safetensors", "path": "./blob/a.safetensors", "tensor_key": "index"}
    workload = {"uuid": "w", "axes": {"n": 5, "m": 3}, "inputs": {"x": {"type": "random"}, "index": stored}}
    trace(tmp_path, GATHER, [workload])
    monkeypatch.chdir(tmp_path)
    task = only(FlashinferTrace(), Path())
    monkeypatch.chdir("/")
    found, (x, index) = opened(task, task.cases[0])
    assert index.tolist() == [4, 0, 2]
    assert index.dtype == torch.int32
    assert torch.equal(found.expected.eager[0], x[[4, 0, 2]])
    assert str(tmp_path) not in task.source


@pytest.mark.parametrize(("content", "why"), [(None, "not there"), ("version https://git-lfs…", "git lfs pull")])
def test_stored_inputs_that_were_not_fetched_leave_a_task_out(tmp_path: Path, content: str | None, why: str) -> None:
    stored = {"type": "safetensors", "path": "blob/a.safetensors", "tensor_key": "index"}
    trace(tmp_path, GATHER, [{"axes": {"n": 5, "m": 3}, "inputs": {"index": stored}}])
    if content is not None:
        (tmp_path / "blob").mkdir()
        (tmp_path / "blob/a.safetensors").write_text(content)
    assert why in FlashinferTrace().load(tmp_path, Selection()).left_out["flashinfer-trace/op/gather"]


def test_expression_axes_and_custom_inputs(tmp_path: Path) -> None:
    write(tmp_path / "L1/001_rope", ROPE, [rope_workload(4), rope_workload(9)], "definition.json", "workload.jsonl")
    task = only(SolExecBench(), tmp_path)
    assert task.name == "sol-execbench/L1/001_rope"
    for case in task.cases:
        found, (x, variance, index) = opened(task, case)
        rows = case.sizes["rows"]
        assert x.shape == (rows, 12)
        assert sorted(index.tolist()) == list(range(rows))
        assert bool((variance > 0).all())
        torch.testing.assert_close(found.expected.eager[0], x[index][:, :6] * variance.sqrt())


def test_the_folder_of_one_problem_is_a_suite_too(tmp_path: Path) -> None:
    write(tmp_path / "L2/002_rope", ROPE, [rope_workload(4)], "definition.json", "workload.jsonl")
    assert only(SolExecBench(), tmp_path / "L2/002_rope").name == "sol-execbench/L2/002_rope"


def test_two_folders_of_one_name_are_two_tasks_however_they_are_selected(tmp_path: Path) -> None:
    for tree in ("a", "b"):
        write(tmp_path / tree / "L1/rope", ROPE, [rope_workload(4)], "definition.json", "workload.jsonl")
    names = ["sol-execbench/L1/rope", "sol-execbench/b/L1/rope"]
    assert [t.name for t in SolExecBench().load(tmp_path, Selection()).tasks] == names
    assert [t.name for t in SolExecBench().load(tmp_path, Selection(names=names[1:])).tasks] == names[1:]


def test_a_reference_with_device_literals_and_future_imports_runs_on_the_judges_device(tmp_path: Path) -> None:
    reference = "from __future__ import annotations\n" + ROPE["reference"].replace("device=device", "device='cuda'")
    write(tmp_path / "L1/rope", ROPE | {"reference": reference}, [rope_workload(4)], "definition.json", "workload.jsonl")
    task = only(SolExecBench(), tmp_path)
    _, (_, _, index) = opened(task, task.cases[0])
    assert index.device.type == "cpu"
    with torch.device("meta"):
        assert all(t.device.type == "meta" for t in execute(task, task.cases[0].sizes)["get_inputs"]())


def test_what_upstream_tolerates_is_said(tmp_path: Path) -> None:
    workloads = [rope_workload(4) | {"tolerance": {"max_atol": 0.5, "required_matched_ratio": 0.9}}, rope_workload(5)]
    write(tmp_path / "L1/rope", ROPE, workloads, "definition.json", "workload.jsonl")
    assert "atol 0.5, rtol 0.01 in 0.9 of" in only(SolExecBench(), tmp_path).summary


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"reference": "import flashinfer\ndef run(x, weight, eps): ..."}, "flashinfer"),
        ({"reference": "def other(): ..."}, "run"),
        ({"reference": "def run(:"}, "does not parse"),
        ({"axes": {"batch_size": {"type": "var"}, "hidden_size": {"type": "free"}}}, "hidden_size"),
        ({"axes": {"batch_size": {"type": "var"}}}, "hidden_size"),
        ({"axes": {"batch_size": {"type": "var"}, "hidden_size": {"type": "var"}}}, "whole number"),
        ({"axes": {"batch_size": {"type": "var"}, "hidden_size": {"type": "expr", "expression": "exit()"}}}, "arithmetic"),
        ({"axes": {"a": {"type": "expr", "expression": "b"}, "b": {"type": "expr", "expression": "a"}}}, "each other"),
        ({"inputs": {"x": {"shape": ["batch_size"], "dtype": "float4_e2m1"}}}, "float4_e2m1"),
        ({"inputs": None}, "inputs"),
        ({"inputs": {"x)": {"shape": ["batch_size"], "dtype": "float32"}}}, "parameter"),
        ({"custom_inputs_entrypoint": "nowhere"}, "nowhere"),
    ],
)
def test_a_broken_definition_is_left_out_and_the_rest_loads(tmp_path: Path, change: dict[str, Any], why: str) -> None:
    trace(tmp_path, NORM, [norm_workload(2)])
    trace(tmp_path, NORM | {"name": "broken"} | change, [norm_workload(2)])
    loaded = FlashinferTrace().load(tmp_path, Selection())
    assert [t.name for t in loaded.tasks] == ["flashinfer-trace/op/rmsnorm_h8"]
    assert why in loaded.left_out["flashinfer-trace/op/broken"]


@pytest.mark.parametrize("lines", [["{"], ["3"], ["{}"], []])
def test_broken_workloads_leave_a_definition_out(tmp_path: Path, lines: list[str]) -> None:
    write(tmp_path, NORM, [], "L1/norm/definition.json", "L1/norm/workload.jsonl")
    (tmp_path / "L1/norm/workload.jsonl").write_text("\n".join(lines))
    assert "sol-execbench/L1/norm" in SolExecBench().load(tmp_path, Selection()).left_out


def test_a_workload_that_cannot_be_used_does_not_take_the_others_with_it(tmp_path: Path) -> None:
    trace(tmp_path, NORM, [{"axes": {}, "inputs": {}}, norm_workload(2), norm_workload(5)])
    assert {case.sizes["batch_size"] for case in only(FlashinferTrace(), tmp_path).cases} == {2, 5}


@pytest.mark.parametrize("suite", [FlashinferTrace(), SolExecBench()])
def test_a_folder_of_something_else_is_refused(tmp_path: Path, suite: FlashinferTrace | SolExecBench) -> None:
    with pytest.raises(TaskError, match="holds no"):
        suite.load(tmp_path, Selection())
