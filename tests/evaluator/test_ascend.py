"""The model of an Ascend core: each fault is told by the API, each exemplar passes, and what a kernel hides is seen."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
import torch
from ascend_faults import FAULTS, RACES, source

from kernelwright.agent.prompt.knowledge import PROMPTS, solves
from kernelwright.evaluator import native
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.native_ascend import SimulatedFault
from kernelwright.evaluator.settings import Settings
from kernelwright.tasks.load import load_task
from kernelwright.tasks.records import Assurance, Kernel, Status, Verdict

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
FOLDER = PROMPTS / "backends" / "ascend" / "exemplars"


@pytest.fixture(scope="module")
def faults(tmp_path_factory: pytest.TempPathFactory) -> Any:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_CACHE_HOME", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("KERNELWRIGHT_LIBRARIES", raising=False)
        yield native.load(ascend=source())


@pytest.fixture(scope="module")
def judge(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Judge]:
    with Judge("ascend", "cpu", tmp_path_factory.mktemp("cache"), Settings()) as made:
        yield made


def judged(judge: Judge, text: str, task: str) -> Verdict:
    return judge.judge(Kernel(text, "ascend"), load_task(task))


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_told_with_the_api_that_saw_it(faults: Any, name: str) -> None:
    x, y = torch.randn(64), torch.zeros(64)
    with pytest.raises(SimulatedFault) as caught:
        getattr(faults, name)[1](x, y)
    assert str(caught.value).startswith(f"{name}: block 0: ")
    assert FAULTS[name][1] in str(caught.value)


@pytest.mark.parametrize("name", RACES)
def test_blocks_that_touch_the_same_bytes_are_a_race(faults: Any, name: str) -> None:
    x, y = torch.randn(64), torch.zeros(64)
    getattr(faults, name)[1](x, y)
    for _ in range(2):  # in both orders
        with pytest.raises(SimulatedFault, match="race") as caught:
            getattr(faults, name)[2](x, y)
        assert RACES[name][1] in str(caught.value)


def test_every_exemplar_has_its_task_and_says_so() -> None:
    assert {path.stem for path in FOLDER.glob("*.py") if not path.stem.endswith("_triton")} == set(TASKS)
    assert set(TASKS) == {path.name for path in LIBRARY.iterdir() if any(path.glob("*/task.yaml"))}
    for stem, task in TASKS.items():
        assert solves("ascend", stem, load_task(f"{stem}/{task}"))


QUICK = ("activation", "fusion", "index", "matmul", "reduce")
"""Exemplars that are judged by default: vectors, cubes with vectors after them, copies alone, cubes, sums."""


@pytest.mark.parametrize(
    ("category", "task"),
    [pytest.param(c, t, marks=() if c in QUICK else pytest.mark.slow) for c, t in sorted(TASKS.items())],
)
def test_an_exemplar_passes_simulated(category: str, task: str, judge: Judge) -> None:
    verdict = judged(judge, (FOLDER / f"{category}.py").read_text(), f"{category}/{task}")
    assert verdict.status is Status.PASSED, verdict.reason
    assert verdict.assurance is Assurance.SIMULATED
    assert verdict.timing is None
    assert verdict.held_out == "passed"
    assert verdict.evidence["sanitize"]["launches"] >= 2


def test_a_fault_that_is_caught_is_a_fault(judge: Judge) -> None:
    text = (FOLDER / "reduce.py").read_text().replace("out.FreeTensor(sum);", "").replace("        lib.row_sum", "        go")
    text += "\n\ndef go_(*a):\n    try:\n        lib.row_sum[1](*a)\n    except RuntimeError:\n        pass\n"
    text = text.replace("go[min(40, rows)](", "go_(").replace("pipe.InitBuffer(out, 1, 32)", "pipe.InitBuffer(out, 8, 32)")
    verdict = judged(judge, text, "reduce/row_sum")
    assert verdict.status is Status.RUNTIME_ERROR, verdict.reason
    assert "FreeTensor is missing" in verdict.reason


def test_what_is_not_modelled_is_unsupported(judge: Judge) -> None:
    text = (FOLDER / "reduce.py").read_text().replace("ReduceSum(p, x, w, count)", "Sum(p, x, count)")
    verdict = judged(judge, text, "reduce/row_sum")
    assert verdict.status is Status.UNSUPPORTED
    assert "Sum is not modelled by the simulator" in verdict.reason
    assert verdict.assurance is Assurance.STATIC


def test_tiling_is_read_through_a_pointer_to_global_memory(judge: Judge) -> None:
    text = (FOLDER / "reduce.py").read_text()
    tile = "min(8192, (cols + 7) // 8 * 8)"
    for said, instead in (
        ("class RowSum {", "struct Tiling {\n  uint32_t rows, cols, tile;\n};\n\nclass RowSum {"),
        ("GM_ADDR y, uint32_t rows, uint32_t cols, uint32_t tile) {\n  RowSum", "GM_ADDR y, GM_ADDR t) {\n  RowSum"),
        ("op.Init(x, y, rows, cols, tile);", "auto g = (__gm__ Tiling*)t; op.Init(x, y, g->rows, g->cols, g->tile);"),
        ("        lib.row_sum", f"        tiling = torch.tensor([rows, cols, {tile}], dtype=torch.int32)\n        lib.row_sum"),
        (f"(given, y, rows, cols, {tile})", "(given, y, tiling)"),
    ):  # fmt: skip
        assert said in text
        text = text.replace(said, instead, 1)
    verdict = judged(judge, text, "reduce/row_sum")
    assert verdict.status is Status.PASSED, verdict.reason


def test_an_index_outside_an_array_ends_the_process_and_not_the_judge(judge: Judge) -> None:
    text = (FOLDER / "reduce.py").read_text()
    text = text.replace("Duplicate(sum, 0.0f, 8);", "float a[2] = {0.0f, 0.0f};\n      Duplicate(sum, a[rows_], 8);")
    verdict = judged(judge, text, "reduce/row_sum")
    assert verdict.status is Status.RUNTIME_ERROR, verdict.reason
