"""The cascade on the exemplars in C++ and Triton: each passes, on a task of the library or on its reference."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from kernelwright.agent.prompt.knowledge import PROMPTS, solves
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Kernel, Status, Task

REFERENCES = Path(__file__).parents[1] / "prompts" / "references"
FOLDERS = {backend: PROMPTS / "backends" / backend / "exemplars" for backend in ("cpp", "triton")}
EXEMPLARS = [(backend, path.stem) for backend, folder in FOLDERS.items() for path in sorted(folder.glob("*.py"))]
OF_THE_LIBRARY = {
    "architecture": "mlp_block",
    "broadcast": "rotary_embedding",
    "optimizer": "adamw_step",
    "resize": "bilinear_upsample",
}
"""Category -> the task of the library whose kernel the exemplar is as it stands. Others solve a more general one, or none."""


def task_of(category: str) -> Task:
    there = category in OF_THE_LIBRARY
    return load_task(f"{category}/{OF_THE_LIBRARY[category]}" if there else str(REFERENCES / f"{category}.py"))


@pytest.mark.parametrize("backend", ["cpp", "triton"])
@pytest.mark.parametrize("category", sorted(OF_THE_LIBRARY))
def test_prompts_know_the_tasks_that_they_solve(backend: str, category: str) -> None:
    assert solves(backend, category, task_of(category))


@pytest.mark.slow
@pytest.mark.parametrize(("backend", "category"), EXEMPLARS)
def test_an_exemplar_is_judged_passed(backend: str, category: str, tmp_path: Path) -> None:
    if backend == "cpp" and not shutil.which("g++"):
        pytest.skip("no g++")
    if backend == "triton":
        pytest.importorskip("triton")
    source = (FOLDERS[backend] / f"{category}.py").read_text(encoding="utf-8")
    with Judge(backend, "cpu", tmp_path, Settings(timing=False)) as judge:
        verdict = judge.judge(Kernel(source, backend), task_of(category))
    assert verdict.status is Status.PASSED, verdict.reason
