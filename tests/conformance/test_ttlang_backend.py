"""The ttlang backend keeps the contract: TT-Lang in the vendor's simulator, and one line where that is not there."""

from __future__ import annotations

from pathlib import Path

import pytest
from conformance.backends import BackendConformance

from kernelwright.agent.cli.defaults import language
from kernelwright.evaluator.backends.backend import Backend
from kernelwright.evaluator.backends.ttlang import TTLangBackend
from kernelwright.evaluator.screen import screen
from kernelwright.tasks.records import Kernel

pytest.importorskip("ttl")
pytestmark = pytest.mark.requires_ttlang

GOOD = """
import torch
import ttl

from kernelwright.evaluator.ttlang import launch


@ttl.operation(grid=(1, 1))
def twice(x, y):
    x_dfb = ttl.make_dataflow_buffer_like(x, shape=(1, 1), block_count=2)
    y_dfb = ttl.make_dataflow_buffer_like(y, shape=(1, 1), block_count=2)
    tiles = [(r, c) for r in range(x.shape[0] // 32) for c in range(x.shape[1] // 32)]

    @ttl.datamovement()
    def read():
        for r, c in tiles:
            with x_dfb.reserve() as block:
                ttl.copy(x[r : r + 1, c : c + 1], block).wait()

    @ttl.compute()
    def compute():
        for _ in tiles:
            with x_dfb.wait() as block, y_dfb.reserve() as out:
                out.store(block + block)

    @ttl.datamovement()
    def write():
        for r, c in tiles:
            with y_dfb.wait() as block:
                ttl.copy(block, y[r : r + 1, c : c + 1]).wait()


class ModelNew(torch.nn.Module):
    def forward(self, x):
        given = x.reshape(1, -1).float()
        y = torch.empty_like(given)
        launch(twice, given, y)
        return y.to(x.dtype).reshape(x.shape)
"""


class TestTTLangBackend(BackendConformance):
    @pytest.fixture
    def backend(self) -> Backend:
        return TTLangBackend()

    @pytest.fixture
    def good(self) -> str:
        return GOOD

    @pytest.fixture
    def broken(self) -> tuple[str, str]:
        return (
            "import torch\nclass ModelNew(torch.nn.Module):\n    def forward(self, x):\n        return x\n",
            "never uses launch",
        )

    def test_a_part_that_is_missing_is_named(self, backend: Backend, tmp_path: Path) -> None:
        built = backend.build(Kernel(GOOD.replace("@ttl.compute()", ""), "ttlang"), tmp_path)
        assert not built.ok
        assert "never uses ttl.compute;" in built.log

    def test_building_names_the_lines(self, backend: Backend, tmp_path: Path) -> None:
        found = backend.build(Kernel(GOOD, "ttlang"), tmp_path).evidence["ttlang"]
        assert found == {"launch": [37], "operation": [8], "compute": [20], "datamovement": [14, 26]}

    def test_the_screen_lets_the_language_in_and_nothing_behind_it(self) -> None:
        assert [f for f in screen(Kernel(GOOD, "ttlang")) if f.tier != "record"] == []
        for line in ("import ttnn\nttnn.matmul(1, 2)", "from ttl.sim import dfb\ndfb.Block", "launch.raw_tensor"):
            assert [f for f in screen(Kernel(f"{GOOD}\n{line}\n", "ttlang")) if f.tier == "reject"], line

    def test_a_file_is_told_by_its_text(self) -> None:
        assert language(GOOD) == "ttlang"

    def test_the_gpu_is_not_its_device(self, backend: Backend) -> None:
        assert "--device cpu" in backend.available("cuda")
