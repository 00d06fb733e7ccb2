"""A kernel that the user hands over: judged first in its own backend, shown for translation in another."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from scripted import ENGINE, MODEL, kernel, reference, script

from kernelwright.agent.given import MOST, GivenKernel, read_given
from kernelwright.agent.prompt.build import build_prompt, compose
from kernelwright.agent.run import resume, start
from kernelwright.agent.settings import RunConfig
from kernelwright.agent.warm import GIVEN
from kernelwright.agent.watch import Silence
from kernelwright.agent.workspace import Workspace
from kernelwright.agent.writers.writer import Assignment
from kernelwright.evaluator.device import DeviceInfo
from kernelwright.memory.records import Context
from kernelwright.tasks.errors import InputError
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Idea, IdeaStage, Task

CUDA = "__global__ void add(const float* x, float* y, int n) { /* ``` */ }\n"
OWN = """from kernelwright.evaluator.native import load
lib = load(cpp="int f();")
class ModelNew:
    pass
"""


@pytest.fixture
def place(tmp_path: Path) -> Workspace:
    return Workspace.at(tmp_path / "home", None)


@pytest.fixture
def task(tmp_path: Path) -> Task:
    return replace(load_task(reference(tmp_path)), family="addition")


def config(task: Task, given: GivenKernel | None, **changes: object) -> RunConfig:
    base = RunConfig((), (task.name,), "cpp", MODEL, engine=ENGINE, budget=3, policy="greedy", repairs=0, given=given)
    return replace(base, **changes)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "text", "language"),
    [
        ("a.cu", CUDA, "cuda"),
        ("a.cc", "void f();", "cpp"),
        ("a.py", "import triton\n@triton.jit\ndef k(): pass", "triton"),
        ("a.py", "from jax.experimental import pallas as pl", "pallas"),
        ("a.py", "lib = load(cuda=r'x')", "cuda"),
        ("a.py", "import torch\nimport ttl\n", "ttlang"),
        ("a.py", "    import ttlx\n", "python"),
        ("a.py", "lib = load(ascend=r'x')", "ascend"),
        ("a.py", 'extern "C" __global__ __aicore__ void add(GM_ADDR x) {}', "ascend"),
        ("a.py", OWN, "cpp"),
        ("a.py", "import torch", "python"),
    ],
)
def test_the_language_is_told_by_suffix_and_text(tmp_path: Path, name: str, text: str, language: str) -> None:
    (tmp_path / name).write_text(text)
    assert read_given(tmp_path / name) == GivenKernel(name, language, text)


@pytest.mark.parametrize(
    ("name", "data", "says"),
    [
        ("a.txt", b"x", "unknown suffix"),
        ("none.cu", None, "No such file"),
        ("a.cu", b" \n", "empty"),
        ("a.cu", b"\xff\xfe", "UTF-8"),
        ("a.cu", b"x" * (MOST + 1), "bytes"),
    ],
)
def test_a_file_that_is_no_kernel_is_one_clear_error(tmp_path: Path, name: str, data: bytes | None, says: str) -> None:
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(InputError, match=says) as caught:
        read_given(tmp_path / name)
    assert caught.value.remedy


def test_a_kernel_of_the_runs_own_backend_is_the_first_candidate_and_resumes(place: Workspace, task: Task) -> None:
    own = kernel("passed 1.3", 9)
    given = GivenKernel("mine.py", "cpp", f"{own}\nclass ModelNew: pass\n")
    script(place.home, "never asked", kernel("passed 1.5", 1), kernel("incorrect", 2))
    result = start(config(task, given), [task], place, Silence())
    first, second, _ = result.steps
    assert first.answer is not None
    assert first.answer.kernel is not None
    assert (first.answer.model, first.answer.kernel.source, first.answer.cost_usd) == (GIVEN, given.source, 0.0)
    assert second.answer is not None
    assert second.answer.model != GIVEN
    assert len(resume(result.run.id, place, Silence()).steps) == 3
    assert RunConfig.of(result.run.config).given == given


def assignment(task: Task, given: GivenKernel, backend: str = "cpp") -> Assignment:
    idea = Idea("r", task.name, 1, IdeaStage.DRAFT)
    return Assignment(idea, task, backend, DeviceInfo("cpu", "a cpu"), Context(), given)


def test_a_kernel_in_another_language_is_shown_whole_and_never_cut(task: Task) -> None:
    given = GivenKernel("add.cu", "cuda", CUDA * 40)
    prompt = compose(assignment(task, given), 2_000)
    assert "## A kernel to translate: add.cu (cuda)" in prompt.text
    assert f"````cuda\n{given.source.rstrip()}\n````" in prompt.text
    assert not next(s.dropped for s in prompt.sections if s.name == "given")
    assert "to translate" not in build_prompt(assignment(task, given), role="review", code="x")
    assert "to translate" not in build_prompt(assignment(task, GivenKernel("m.py", "cpp", OWN)))
    assert "to translate" not in build_prompt(replace(assignment(task, given), given=None))


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"model": "playbook"}, "playbook does not translate"),
        ({"order": ("a", "b")}, "one task"),
        ({"model": "replay:x"}, "replay"),
    ],
)
def test_where_a_given_kernel_has_no_place_the_run_does_not_begin(task: Task, changes: dict[str, object], says: str) -> None:
    with pytest.raises(InputError, match=says):
        config(task, GivenKernel("add.cu", "cuda", CUDA), **changes)
