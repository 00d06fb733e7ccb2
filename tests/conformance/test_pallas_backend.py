"""The pallas backend keeps the contract: interpreted as a TPU would run it, and lowered for one that is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from conformance.backends import BackendConformance

from kernelwright.evaluator.backends.backend import Backend
from kernelwright.evaluator.backends.pallas import PallasBackend
from kernelwright.evaluator.screen import screen
from kernelwright.tasks.records import Kernel

pytest.importorskip("jax")
pytestmark = pytest.mark.requires_jax

GOOD = """
import jax
import torch
from jax.experimental import pallas as pl

from kernelwright.evaluator.pallas import launch


def twice_kernel(x_ref, o_ref):
    o_ref[...] = x_ref[...] * 2.0


def twice(x):
    return pl.pallas_call(twice_kernel, out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype))(x)


class ModelNew(torch.nn.Module):
    def forward(self, x):
        return launch(twice, x.reshape(8, -1)).reshape(x.shape)
"""

LATE = """
import json, torch
import jax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from kernelwright.evaluator.backends.pallas_launch import Launches, Race

def body(x, o, scratch, semaphore):
    copy = pltpu.make_async_copy(x, scratch, semaphore)
    copy.start()
    {early}
    o[...] = scratch[...] * 2
    {late}

def double(x):
    return pl.pallas_call(body, in_specs=[pl.BlockSpec(memory_space=pl.ANY)], out_shape=jax.ShapeDtypeStruct(x.shape, x.dtype),
                          scratch_shapes=[pltpu.VMEM(x.shape, x.dtype), pltpu.SemaphoreType.DMA])(x)

seen, launches = [], Launches()
for dma in ("eager", "on_wait"):
    try:
        with launches.races(dma):
            launches.launch(double, torch.ones(8, 128))
    except Race:
        seen.append(dma)
print(json.dumps(seen))
"""


def run(code: str) -> list[str]:
    environment = os.environ | dict(PallasBackend().run_entry("cpu"))
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    found: list[str] = json.loads(done.stdout.splitlines()[-1])
    return found


class TestPallasBackend(BackendConformance):
    @pytest.fixture
    def backend(self) -> Backend:
        return PallasBackend()

    @pytest.fixture
    def good(self) -> str:
        return GOOD

    @pytest.fixture
    def broken(self) -> tuple[str, str]:
        return (
            "import torch\nclass ModelNew(torch.nn.Module):\n    def forward(self, x):\n        return x\n",
            "never calls launch",
        )

    def test_the_screen_lets_the_language_in_and_nothing_else_of_jax(self) -> None:
        assert [f for f in screen(Kernel(GOOD, "pallas")) if f.tier == "reject"] == []
        for line in ("jax.config.update('jax_enable_x64', True)", "jax.pure_callback(print, None)", "jax._src.core"):
            assert [f for f in screen(Kernel(f"{GOOD}\n{line}\n", "pallas")) if f.tier == "reject"], line

    def test_a_wait_in_time_is_no_race_and_a_late_one_is(self) -> None:
        assert run(LATE.format(early="copy.wait()", late="")) == []
        assert run(LATE.format(early="", late="copy.wait()")) == ["eager", "on_wait"]

    def test_what_is_there_is_told_with_the_remedy(self, monkeypatch: pytest.MonkeyPatch, backend: Backend) -> None:
        monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
        assert "pip install 'kernelwright[pallas]'" in backend.available("cpu")
        assert "--device cpu" in backend.available("cuda")

    def test_building_names_the_calls(self, backend: Backend, tmp_path: Path) -> None:
        found = backend.build(Kernel(GOOD, "pallas"), tmp_path).evidence["pallas"]
        assert (found["launch"], found["pallas_call"]) == ([19], [14])
