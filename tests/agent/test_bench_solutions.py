"""Which file of a folder of kernels is for which task, and what is said of the others."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from tiny_suite import Tiny, clone

from kernelwright.agent.bench.solutions import find
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Kernel, Task
from kernelwright.tasks.suites.suite import Selection

KERNEL = "class ModelNew:\n    pass\n"


@pytest.fixture
def tasks(tmp_path: Path) -> tuple[Task, ...]:
    root = clone(tmp_path / "clone", "level1/1_add", "level1/12_gemm", "level2/1_add_relu", "level2/7_softmax")
    return Tiny().load(root, Selection()).tasks


def put(folder: Path, *names: str, text: str = KERNEL) -> Path:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@pytest.mark.parametrize(
    ("file", "task"),
    [
        ("level1/1_whatever.py", "tiny/level1/1_add"),
        ("level_2/1.py", "tiny/level2/1_add_relu"),
        ("KernelBench/level1/012_x.py", "tiny/level1/12_gemm"),
        ("12_x.py", "tiny/level1/12_gemm"),
        ("softmax.py", "tiny/level2/7_softmax"),
        ("7_softmax/kernel.py", "tiny/level2/7_softmax"),
        ("deep/7_softmax/sample_3.py", "tiny/level2/7_softmax"),
        ("1_add.py", "tiny/level1/1_add"),
        ("run/level_2_problem_7_sample_0_kernel.py", "tiny/level2/7_softmax"),
        ("level_1_problem_1_sample_4_kernel.py", "tiny/level1/1_add"),
    ],
)
def test_a_file_is_matched_by_level_and_number_or_by_name(
    tmp_path: Path, tasks: tuple[Task, ...], file: str, task: str
) -> None:
    found = find(put(tmp_path / "theirs", file), tasks)
    assert [(s.task, s.sample, s.path) for s in found.submissions] == [(task, 1, file)]
    assert found.unknown == {}


def test_unknown_files_are_named_and_the_rest_goes_on(tmp_path: Path, tasks: tuple[Task, ...]) -> None:
    folder = put(tmp_path / "theirs", "level1/1_a.py", ".hidden/1_a.py", "__pycache__/1.py")
    put(folder, "99_none.py", "1_x.py", "level3/1_a.py")
    put(folder, "eval_results.json", text="{}")
    put(folder, "level1/12_gemm.py", text="class Model:\n    pass\n")
    (folder / "7_softmax.py").write_bytes(b"class ModelNew: \xff\n")
    found = find(folder, tasks)
    assert [s.path for s in found.submissions] == ["level1/1_a.py"]
    no_task = {"99_none.py", "1_x.py", "level3/1_a.py"}
    assert set(found.unknown) == no_task | {"eval_results.json", "level1/12_gemm.py", "7_softmax.py"}
    assert "level1/1_add" in found.unknown["1_x.py"]
    assert "level2/1_add_relu" in found.unknown["1_x.py"]
    assert "ModelNew" in found.unknown["level1/12_gemm.py"]
    assert "UTF-8" in found.unknown["7_softmax.py"]
    assert "Python" in found.unknown["eval_results.json"]


def test_samples_of_a_task_are_in_the_order_of_their_numbers(tmp_path: Path, tasks: tuple[Task, ...]) -> None:
    names = [f"level_1_problem_12_sample_{n}_kernel.py" for n in (0, 10, 2)]
    found = find(put(tmp_path / "theirs", *names, "level2/7_a.py", "level2/7_b.py"), tasks)
    assert [(s.sample, s.path) for s in found.submissions if s.task.endswith("gemm")] == [
        (1, names[0]),
        (2, names[2]),
        (3, names[1]),
    ]
    assert [(s.sample, s.path) for s in found.submissions if s.task.endswith("softmax")] == [
        (1, "level2/7_a.py"),
        (2, "level2/7_b.py"),
    ]
    assert found.samples == 3


def test_a_file_that_does_not_parse_is_judged_all_the_same(tmp_path: Path, tasks: tuple[Task, ...]) -> None:
    found = find(put(tmp_path / "theirs", "level1/1_a.py", text="class ModelNew(\n"), tasks)
    assert found.samples == 1


def test_the_backend_is_what_the_text_says_unless_it_is_given(tmp_path: Path, tasks: tuple[Task, ...]) -> None:
    folder = put(tmp_path / "theirs", "level1/1_a.py", text=f"import triton\n{KERNEL}")
    put(folder, "level1/12_a.py")
    assert {s.path: s.backend for s in find(folder, tasks).submissions} == {"level1/1_a.py": "triton", "level1/12_a.py": "cpp"}
    assert [s.backend for s in find(folder, tasks, "cpp").submissions] == ["cpp", "cpp"]


@pytest.mark.parametrize("there", [True, False])
def test_a_folder_without_kernels_is_wrong_input(tmp_path: Path, tasks: tuple[Task, ...], there: bool) -> None:
    if there:
        put(tmp_path / "theirs", "notes.txt")
    with pytest.raises(InputError, match=r"notes\.txt" if there else "no such folder"):
        find(tmp_path / "theirs", tasks)


def test_kernels_in_a_language_without_a_backend_are_named(tmp_path: Path, tasks: tuple[Task, ...]) -> None:
    folder = put(tmp_path / "theirs", "level1/1_a.py")
    put(folder, "level1/12_a.py", text=f"from torch.utils.cpp_extension import load_inline\n{KERNEL}\nload_inline('a', '')\n")
    found = find(folder, tasks)
    assert [s.path for s in found.submissions] == ["level1/1_a.py"]
    assert "no backend" in found.unknown["level1/12_a.py"]


def test_kernels_that_load_inline_would_build_are_judged_where_that_can_be(tmp_path: Path, tasks: tuple[Task, ...]) -> None:
    text = f"from torch.utils.cpp_extension import load_inline\n{KERNEL}\nload_inline('a', '', '__global__ void k() {{}}')\n"
    folder = put(tmp_path / "theirs", "level1/1_a.py")
    put(folder, "level1/12_a.py", text=text)
    found = find(folder, tasks, no_inline="no GPU")
    assert found.unknown["level1/12_a.py"] == "no GPU"
    assert [s.path for s in found.submissions] == ["level1/1_a.py"]
    everything = find(folder, tasks, no_inline="")
    assert {s.path: s.backend for s in everything.submissions}["level1/12_a.py"] == "cuda"


def test_the_trivial_kernels_are_those_of_the_committed_table() -> None:
    root = Path(__file__).resolve().parents[2]
    table = json.loads((root / "results" / "cpu" / "kernelbench-trivial.json").read_text())
    corpus = root / "tests" / "redteam" / "kernelbench"
    there = {path.relative_to(corpus).as_posix(): Kernel(path.read_text(), "cpp").kernel_id for path in corpus.rglob("*.py")}
    assert {entry["solution"]: entry["kernel_id"] for entry in table["kernels"]} == there
    assert table["passes"] == len(there)
    assert table["not_held"] == sum(entry["here"] != "passed" for entry in table["kernels"])
