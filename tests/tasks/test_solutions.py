"""Solutions in the forms of GPU MODE, flashinfer-trace and SOL-ExecBench become kernels that compute the same."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from kernelwright.agent.bench.solutions import Found, adopting, find
from kernelwright.tasks.records import Task
from kernelwright.tasks.suites.suite import Selection, load_tasks

PROBLEM = {
    "task.yml": "files:\n  - {name: task.py, source: task.py}\n  - {name: utils.py, source: ../utils.py}\n"
    "tests:\n  - {size: 3, seed: 1}\nbenchmarks:\n  - {size: 4, seed: 1}\n",
    "task.py": "from typing import TypeVar\n\ninput_t = TypeVar('input_t')\noutput_t = TypeVar('output_t')\n",
    "../utils.py": "FACTOR = 2.0\n\n\ndef doubled(t):\n    return t * FACTOR\n",
    "reference.py": "import torch\n\n\ndef ref_kernel(data):\n    return data * 2\n\n\n"
    "def generate_input(size, seed):\n    return torch.rand(size, device='cuda')\n",
}
SUBMISSION = (
    "from task import input_t, output_t\nfrom utils import doubled\nimport torch\n\n\n"
    "def custom_kernel(data: input_t) -> output_t:\n    return doubled(data) + torch.zeros(1, device='cuda')\n"
)
SCALE: dict[str, Any] = {
    "name": "scale_rows",
    "op_type": "scale",
    "axes": {
        "rows": {"type": "var"},
        "width": {"type": "const", "value": 4},
        "half": {"type": "expr", "expression": "width // 2"},
    },
    "inputs": {
        "x": {"shape": ["rows", "width"], "dtype": "float32"},
        "factor": {"shape": None, "dtype": "float32"},
    },
    "outputs": {
        "y": {"shape": ["rows", "width"], "dtype": "float32"},
        "first": {"shape": ["rows", "half"], "dtype": "float32"},
    },
    "reference": "import torch\n\ndef run(x, factor):\n    y = x * factor\n    return y, y[:, :2]\n",
}
WORKLOAD = {
    "axes": {"rows": 3},
    "inputs": {"x": {"type": "random"}, "factor": {"type": "scalar", "value": 3.0}},
}
PASSED_IN = "def run(x, factor, y, first):\n    y[:] = x * factor\n    first[:] = y[:, :2]\n"
RETURNED = "def run(x, factor):\n    y = x * factor\n    return {'first': y[:, :2], 'y': y}\n"


def put(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def solution(source: str | dict[str, str], definition: str = "scale_rows", **spec: Any) -> str:
    files = {"main.py": source} if isinstance(source, str) else source
    sources = [{"path": path, "content": text} for path, text in files.items()]
    spec = {"languages": ["python"], "entry_point": "main.py::run", **spec}
    return json.dumps({"name": "s", "definition": definition, "author": "a", "spec": spec, "sources": sources})


def found(suite: str, root: Path, folder: Path) -> tuple[Found, tuple[Task, ...]]:
    tasks = load_tasks(suite, root, Selection()).tasks
    return find(folder, tasks, None, adopting(suite, root, tasks)), tasks


def called(source: str, *arguments: Any) -> Any:
    """What a kernel's forward gives."""
    namespace: dict[str, Any] = {}
    exec(compile(source, "<solution>", "exec"), namespace)
    return namespace["ModelNew"]().forward(*arguments)


@pytest.fixture
def gpumode(tmp_path: Path) -> Path:
    for entry in ("one/double_py", "two/double_py", "two/other_py"):
        put(tmp_path / "problems" / entry, PROBLEM)
    return tmp_path


def test_a_submission_is_a_kernel(gpumode: Path, tmp_path: Path) -> None:
    folder = put(tmp_path / "theirs", {"two/double_py/a.py": SUBMISSION})
    got, _ = found("gpumode", gpumode, folder)
    (only,) = got.submissions
    assert only.task == "gpumode/two/double_py"
    assert called(only.source, torch.tensor([1.0, 2.0])).tolist() == [2.0, 4.0]


def test_whose_submission_it_is(gpumode: Path, tmp_path: Path) -> None:
    files = {
        "one/double_py/solutions/correct/x.py": SUBMISSION,
        "x.py": f"#!POPCORN leaderboard other_py\n\n{SUBMISSION}",
        "double_py/y.py": SUBMISSION,
        "nothing_py/y.py": SUBMISSION,
        "two/double_py/cuda.py": f"from torch.utils.cpp_extension import load_inline\n{SUBMISSION}\nm = load_inline('n', '')\n",
        "two/double_py/helion.py": f"import helion\n{SUBMISSION}",
        "two/double_py/task.yml": "x: 1\n",
        "two/double_py/notes.py": "a = 1\n",
    }
    got, _ = found("gpumode", gpumode, put(tmp_path / "theirs", files))
    assert {s.path: s.task for s in got.submissions} == {
        "one/double_py/solutions/correct/x.py": "gpumode/one/double_py",
        "x.py": "gpumode/two/other_py",
    }
    assert "several tasks" in got.unknown["double_py/y.py"]
    assert "no task" in got.unknown["nothing_py/y.py"]
    assert "no backend" in got.unknown["two/double_py/cuda.py"]
    assert "helion" in got.unknown["two/double_py/helion.py"]
    assert "ModelNew" in got.unknown["two/double_py/notes.py"]
    assert set(got.unknown) == set(files) - {s.path for s in got.submissions}


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    definition, workload = "definitions/scale/scale_rows.json", "workloads/scale/scale_rows.jsonl"
    return put(tmp_path / "trace", {definition: json.dumps(SCALE), workload: json.dumps(WORKLOAD)})


@pytest.mark.parametrize(
    ("source", "spec"),
    [
        (PASSED_IN, {"destination_passing_style": True}),
        (PASSED_IN, {}),
        (PASSED_IN.replace("x, factor, y, first", "first, y, factor, x"), {"destination_passing_style": True}),
        (PASSED_IN.replace("factor", "by").replace("x, by, y", "x, by, y"), {"destination_passing_style": True}),
        (RETURNED, {"destination_passing_style": False}),
        (RETURNED, {"language": "Python", "languages": None}),
        (RETURNED.replace("{'first': y[:, :2], 'y': y}", "y, y[:, :2]"), {"destination_passing_style": False}),
        (
            {
                "main.py": "from __future__ import annotations\nfrom lib.scale import scaled\n\n\n"
                "def run(x, factor):\n    y = scaled(x, factor)\n    return y, y[:, :2]\n",
                "lib/scale.py": "from .more import ONE\n\n\ndef scaled(x, factor):\n    return x * factor * ONE\n",
                "lib/more.py": "ONE = 1.0\n",
                "README.md": "text",
            },
            {"destination_passing_style": False},
        ),
    ],
)
def test_a_solution_is_a_kernel(trace: Path, tmp_path: Path, source: str | dict[str, str], spec: dict[str, Any]) -> None:
    spec = {key: value for key, value in spec.items() if value is not None} if "language" not in spec else spec
    text = json.loads(solution(source, **spec))
    text["spec"] = {key: value for key, value in text["spec"].items() if value is not None}
    got, tasks = found("flashinfer-trace", trace, put(tmp_path / "theirs", {"a.json": json.dumps(text)}))
    assert got.unknown == {}
    (only,) = got.submissions
    assert (only.task, only.path) == ("flashinfer-trace/scale/scale_rows", "a.json")
    x = torch.rand(5, 4)
    y, first = called(only.source, x, 3.0)
    assert torch.equal(y, x * 3)
    assert torch.equal(first, x[:, :2] * 3)
    reference: dict[str, Any] = {}
    exec(compile(tasks[0].source, "<reference>", "exec"), reference)
    assert type(reference["Model"]()(x, 3.0)) is tuple


def test_a_kernel_returns_what_the_reference_returns(tmp_path: Path) -> None:
    returns = {"return {'y': y}": dict, "return y": torch.Tensor, "return (y,)": tuple, "return [y]": list}
    for number, (text, kind) in enumerate(returns.items()):
        one = {**SCALE, "outputs": {"y": SCALE["outputs"]["y"]}}
        one["reference"] = f"import torch\n\ndef run(x, factor):\n    y = x * factor\n    {text}\n"
        root = tmp_path / str(number)
        put(root, {"p/definition.json": json.dumps(one), "p/workload.jsonl": json.dumps(WORKLOAD)})
        source = "def run(x, factor, y):\n    y[:] = x * factor\n"
        got, _ = found("sol-execbench", root, put(root / "theirs", {"p/a.json": solution(source)}))
        assert type(called(got.submissions[0].source, torch.rand(2, 4), 3.0)) is kind


def test_what_is_no_solution_is_named_and_the_rest_goes_on(trace: Path, tmp_path: Path) -> None:
    files = {
        "good.json": solution(RETURNED, destination_passing_style=False),
        "cuda.json": solution({"main.cu": "int x;"}, languages=["cuda_cpp"], entry_point="main.cu::run"),
        "inline.json": solution(f"from torch.utils.cpp_extension import load_inline\n{RETURNED}\nload_inline('x')\n"),
        "cute.json": solution(RETURNED, languages=["cute_dsl"]),
        "other.json": solution(RETURNED, definition="nothing"),
        "entry.json": solution(RETURNED, entry_point="main.py::walk"),
        "file.json": solution(RETURNED, entry_point="run"),
        "broken.json": solution("def run(:"),
        "clash.json": solution({"main.py": "from b import a\n\n\ndef run(x, factor):\n    pass\n", "b.py": "a = 1\nrun = 2\n"}),
        "list.json": "[1]",
        "text.json": "{",
        "eval_results.json": "{}",
        "README.md": "",
    }
    got, _ = found("flashinfer-trace", trace, put(tmp_path / "theirs", files))
    assert [s.path for s in got.submissions] == ["good.json"]
    reasons = {
        "cuda.json": "cuda_cpp",
        "inline.json": "no backend",
        "cute.json": "cute_dsl",
        "other.json": "nothing",
        "entry.json": "walk",
        "file.json": "entry point",
        "broken.json": "parse",
        "clash.json": "run is defined in two",
        "list.json": "no solution",
        "text.json": "no solution",
        "eval_results.json": "no solution",
        "README.md": "no Python file",
    }
    assert set(got.unknown) == set(reasons)
    for name, reason in reasons.items():
        assert reason in got.unknown[name], name


def test_an_output_whose_size_no_input_shows_is_refused(tmp_path: Path) -> None:
    odd = {**SCALE, "outputs": {"y": {"shape": ["count"], "dtype": "float32"}}}
    odd["axes"] = {**SCALE["axes"], "count": {"type": "var"}}
    work = {**WORKLOAD, "axes": {"rows": 3, "count": 2}}
    root = put(tmp_path, {"p/definition.json": json.dumps(odd), "p/workload.jsonl": json.dumps(work)})
    files = {"a.json": solution("def run(x, factor, y):\n    pass\n"), "b.json": solution("def run(x, factor):\n    pass\n")}
    got, _ = found("sol-execbench", root, put(tmp_path / "theirs", files))
    assert "no input shows the size of count" in got.unknown["a.json"]
    assert [s.path for s in got.submissions] == ["b.json"]
