"""The cascade on Pallas kernels: each exemplar passes on a library task, and tells how far it was verified."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from kernelwright.agent.prompt.knowledge import PROMPTS, solves
from kernelwright.evaluator.backends.pallas_probe import COUNTS, libtpu
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Assurance, Kernel, Status

pytest.importorskip("jax")
pytestmark = pytest.mark.requires_jax

TASKS = {
    "activation": "softmax",
    "architecture": "mlp_block",
    "broadcast": "bias_scale_residual",
    "convolution": "pointwise_conv2d",
    "fusion": "linear_gelu",
    "index": "embedding_gather",
    "loss": "huber",
    "math": "cumsum",
    "matmul": "gemm",
    "normalization": "layer_norm",
    "optimizer": "sgd_momentum_step",
    "pooling": "global_avg_pool",
    "reduce": "row_sum",
    "resize": "nearest_upsample",
}
LIBRARY = Path(str(resources.files("kernelwright"))) / "tasks" / "library"
FOLDER = PROMPTS / "backends" / "pallas" / "exemplars"


def test_every_exemplar_has_its_task_and_says_so() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(TASKS)
    assert set(TASKS) == {path.name for path in LIBRARY.iterdir() if any(path.glob("*/task.yaml"))}
    for stem, task in TASKS.items():
        assert solves("pallas", stem, load_task(f"{stem}/{task}"))


@pytest.mark.parametrize(("category", "task"), sorted(TASKS.items()))
def test_an_exemplar_passes_simulated_and_compiles(category: str, task: str, tmp_path: Path) -> None:
    with Judge("pallas", "cpu", tmp_path, Settings()) as judge:
        verdict = judge.judge(Kernel((FOLDER / f"{category}.py").read_text(), "pallas"), load_task(f"{category}/{task}"))
    assert verdict.status is Status.PASSED, verdict.reason
    assert verdict.assurance is Assurance.SIMULATED
    assert verdict.timing is None
    (launch,) = verdict.evidence["compiled"]["launches"]
    assert launch["tpu_custom_calls"] == (2 if category == "architecture" else 1)
    if libtpu().mode == COUNTS and "libtpu" not in verdict.evidence["compiled"]:
        for kernels in verdict.evidence["compiled"]["schedules"].values():
            assert len(kernels) == launch["tpu_custom_calls"]
            assert all(kernel["bundles"] > 0 for kernel in kernels)


def test_a_float32_product_at_the_chips_default_precision_is_refused(tmp_path: Path) -> None:
    source = (FOLDER / "matmul.py").read_text().replace("jax.lax.Precision.HIGHEST if a.dtype == jnp.float32 else None", "None")
    with Judge("pallas", "cpu", tmp_path, Settings()) as judge:
        verdict = judge.judge(Kernel(source, "pallas"), load_task("matmul/gemm"))
    assert verdict.status in (Status.RUNTIME_ERROR, Status.BUILD_FAILED)
    assert "HIGHEST" in verdict.reason
