"""The cascade on Pallas kernels: each exemplar passes on a library task, and tells how far it was verified."""

from __future__ import annotations

from pathlib import Path

import pytest

from kernelwright.agent.prompt.knowledge import PROMPTS, solves
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Assurance, Kernel, Status

pytest.importorskip("jax")
pytestmark = pytest.mark.requires_jax

TASKS = {
    "activation": "softmax",
    "fusion": "linear_gelu",
    "index": "embedding_gather",
    "loss": "huber",
    "math": "cumsum",
    "matmul": "gemm",
    "normalization": "layer_norm",
    "reduce": "row_sum",
}
FOLDER = PROMPTS / "backends" / "pallas" / "exemplars"


def test_every_exemplar_has_its_task_and_says_so() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(TASKS)
    for stem, task in TASKS.items():
        assert solves("pallas", stem, load_task(f"{stem}/{task}"))


@pytest.mark.parametrize(("category", "task"), sorted(TASKS.items()))
def test_an_exemplar_passes_simulated_and_compiles(category: str, task: str, tmp_path: Path) -> None:
    with Judge("pallas", "cpu", tmp_path, Settings()) as judge:
        verdict = judge.judge(Kernel((FOLDER / f"{category}.py").read_text(), "pallas"), load_task(f"{category}/{task}"))
    assert verdict.status is Status.PASSED, verdict.reason
    assert verdict.assurance is Assurance.SIMULATED
    assert verdict.timing is None
    assert [launch["tpu_custom_calls"] for launch in verdict.evidence["compiled"]["launches"]] == [1]


def test_a_float32_product_at_the_chips_default_precision_is_refused(tmp_path: Path) -> None:
    source = (FOLDER / "matmul.py").read_text().replace("jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None", "None")
    with Judge("pallas", "cpu", tmp_path, Settings()) as judge:
        verdict = judge.judge(Kernel(source, "pallas"), load_task("matmul/gemm"))
    assert verdict.status in (Status.RUNTIME_ERROR, Status.BUILD_FAILED)
    assert "HIGHEST" in verdict.reason
