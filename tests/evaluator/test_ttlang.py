"""The cascade on TT-Lang kernels: each exemplar passes on a library task, and tells how far it was verified."""

from __future__ import annotations

from importlib import resources
from pathlib import Path

import pytest

from kernelwright.agent.prompt.knowledge import PROMPTS, solves
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Assurance, Kernel, Status

pytest.importorskip("ttl")
pytestmark = pytest.mark.requires_ttlang

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
FOLDER = PROMPTS / "backends" / "ttlang" / "exemplars"


def test_every_exemplar_has_its_task_and_says_so() -> None:
    assert {path.stem for path in FOLDER.glob("*.py")} == set(TASKS)
    assert set(TASKS) == {path.name for path in LIBRARY.iterdir() if any(path.glob("*/task.yaml"))}
    for stem, task in TASKS.items():
        assert solves("ttlang", stem, load_task(f"{stem}/{task}"))


@pytest.mark.parametrize(("category", "task"), sorted(TASKS.items()))
def test_an_exemplar_passes_simulated(category: str, task: str, tmp_path: Path) -> None:
    with Judge("ttlang", "cpu", tmp_path, Settings()) as judge:
        verdict = judge.judge(Kernel((FOLDER / f"{category}.py").read_text(), "ttlang"), load_task(f"{category}/{task}"))
    assert verdict.status is Status.PASSED, verdict.reason
    assert verdict.assurance is Assurance.SIMULATED
    assert verdict.timing is None
    assert verdict.evidence["operators"]["library"] == {}
