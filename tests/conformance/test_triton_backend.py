"""The triton backend keeps the contract: interpreted here, and compiled for a GPU that is not there."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from conformance.backends import BackendConformance

from kernelwright.evaluator.backends.backend import Backend
from kernelwright.evaluator.backends.triton import TritonBackend, jit_functions
from kernelwright.tasks.records import Kernel

pytest.importorskip("triton")

GOOD = """
import torch
import triton
import triton.language as tl


@triton.autotune(configs=[triton.Config({"BLOCK": b}, num_warps=4) for b in (128, 256, 512, 1024)], key=["n"])
@triton.jit
def twice(x, y, n, BLOCK: tl.constexpr):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    inside = i < n
    v = tl.load(x + i, mask=inside)
    tl.store(y + i, v + v, mask=inside)


class ModelNew(torch.nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        n = x.numel()
        twice[lambda meta: (triton.cdiv(n, meta["BLOCK"]),)](x, y, n)
        return y
"""

LAUNCHES = """
import torch, triton
import triton.language as tl

@triton.heuristics({"B": lambda a: triton.next_power_of_2(a["n"])})
@triton.jit
def rows(x, y, n, B: tl.constexpr):
    i = tl.arange(0, B)
    tl.store(y + i, tl.exp(tl.load(x + i, mask=i < n)), mask=i < n)

@triton.jit
def matmul(a, b, c, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    m, n, k = tl.arange(0, BM), tl.arange(0, BN), tl.arange(0, BK)
    acc = tl.zeros((BM, BN), tl.float32)
    for start in range(0, K, BK):
        acc += tl.dot(tl.load(a + m[:, None] * K + (start + k)[None, :]), tl.load(b + (start + k)[:, None] * BN + n[None, :]))
    tl.store(c + m[:, None] * BN + n[None, :], acc)

class ModelNew(torch.nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        rows[(1,)](x, y, x.numel())
        rows[(1,)](y, x, x.numel())
        a, c = torch.ones(128, 128, dtype=torch.float16), torch.empty(128, 128)
        matmul[(1, 1)](a, a, c, 128, 128, 128, 64, num_warps=4)
        return y
"""

COMPILE = """
import importlib.util, json, sys, torch
from kernelwright.evaluator.backends.triton_compile import compile_launches
from kernelwright.evaluator.settings import COMPILED_FOR
wanted = [(path, "sm_90") for path in sys.argv[1:]] + [(path, other) for path in sys.argv[1:3] for other in COMPILED_FOR[1:]]
for path, target in wanted:
    spec = importlib.util.spec_from_file_location("kernel", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    error = ""
    with compile_launches(target) as launches:
        try:
            module.ModelNew()(torch.zeros(1000))
        except Exception as problem:
            error = f"{type(problem).__name__}: {problem}"
    print(json.dumps([path.rsplit("/")[-1][:-3], target, [[vars(entry) for entry in launches], error]]))
"""
KERNELS = {
    "launches": LAUNCHES,
    "tuned": GOOD,
    "wrong": LAUNCHES.replace("tl.exp(", "tl.nothing("),
    "large": LAUNCHES.replace("128, 128, 64, num_warps", "128, 128, 64, num_stages=12, num_warps").replace(
        "c, 128,", "c, 4096,"
    ),
}


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[list[dict[str, Any]], str]]:
    """For each kernel, what compiling every launch of its forward gave, and the error that ended it: for sm_90, and for some by
    ``kernel target`` for the other GPUs."""
    folder = tmp_path_factory.mktemp("triton")
    paths = [folder / f"{name}.py" for name in KERNELS]
    for path, source in zip(paths, KERNELS.values(), strict=True):
        path.write_text(source)
    environment = os.environ | {"TRITON_CACHE_DIR": str(folder / "cache"), "TRITON_DEFAULT_FP_FUSION": "1"}
    environment.pop("TRITON_INTERPRET", None)
    command = [sys.executable, "-c", COMPILE, *map(str, paths)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines()]
    return {name if target == "sm_90" else f"{name} {target}": found for name, target, found in told}


class TestTritonBackend(BackendConformance):
    @pytest.fixture
    def backend(self) -> Backend:
        return TritonBackend()

    @pytest.fixture
    def good(self) -> str:
        return GOOD

    @pytest.fixture
    def broken(self) -> tuple[str, str]:
        return "", ""

    def test_only_the_cpu_interprets(self, backend: Backend) -> None:
        assert backend.run_entry("cpu")["TRITON_INTERPRET"] == "1"
        assert "TRITON_INTERPRET" not in backend.run_entry("cuda")

    def test_jitted_functions_are_listed(self, backend: Backend, tmp_path: Path) -> None:
        found = backend.build(Kernel(GOOD, "triton"), tmp_path).evidence["triton"]["functions"]
        assert found == [{"name": "twice", "line": 9, "arguments": 4, "constexprs": ["BLOCK"], "tuned": True}]
        assert jit_functions("from triton import jit as j\n@j\ndef f(x): pass\ndef g(): pass")[0]["name"] == "f"
        bare = backend.build(Kernel("import torch", "triton"), tmp_path)
        assert "no @triton.jit" in bare.evidence["triton"]["note"]

    def test_launches_compile_for_a_gpu_that_is_not_there(self, compiled) -> None:
        launches, error = compiled["launches"]
        assert error == ""
        rows, matmul = launches
        assert (rows["name"], rows["launches"], rows["grid"]) == ("rows", 2, [1, 1, 1])
        assert rows["signature"] == {"x": "*fp32", "y": "*fp32", "n": "i32", "B": "constexpr"}
        assert rows["constexprs"]["B"] == 1024
        assert 8 <= rows["registers"] <= 255
        assert rows["instructions"]["MUFU"] > 0
        assert matmul["instructions"]["HGMMA"] > 0, "the tensor cores of sm_90"
        assert matmul["shared_bytes"] > 0
        assert (matmul["num_warps"], matmul["spill_bytes"]) == (4, 0)

    @pytest.mark.parametrize(
        ("target", "product"), [("sm_80", "HMMA"), ("sm_100", "UTCHMMA"), ("gfx942", "v_mfma"), ("gfx950", "v_mfma")]
    )
    def test_launches_compile_for_other_gpus_too(self, compiled, target: str, product: str) -> None:
        launches, error = compiled[f"launches {target}"]
        assert error == ""
        rows, matmul = launches
        assert (rows["name"], rows["launches"], matmul["launches"]) == ("rows", 2, 1)
        assert 8 <= rows["registers"] <= 255
        assert rows["instructions"]["total"] > 20
        assert matmul["instructions"][product] > 0
        assert matmul["shared_bytes"] > 0
        tuned, _ = compiled[f"tuned {target}"]
        assert [entry["constexprs"]["BLOCK"] for entry in tuned] == [128, 256, 512]

    def test_an_autotuner_compiles_three_configurations_at_most(self, compiled) -> None:
        launches, error = compiled["tuned"]
        assert error == ""
        assert [entry["constexprs"]["BLOCK"] for entry in launches] == [128, 256, 512]
        assert launches[0]["launches"] == 2, "tried once, then chosen"

    def test_what_the_compiler_or_the_chip_refuses_is_raised(self, compiled) -> None:
        assert "nothing" in compiled["wrong"][1]
        assert "CompilationError" in compiled["wrong"][1]
        assert "out of resource: shared memory" in compiled["large"][1]
