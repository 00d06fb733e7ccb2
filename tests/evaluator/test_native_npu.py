"""The launch of Ascend C on an NPU: host functions that g++ builds, called for real, with the CPU in an NPU's place."""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from cann_stand_in import StandIn

from kernelwright.evaluator import cann, native, native_npu, toolchain_cann, vendors
from kernelwright.evaluator.ascend_source import kernels, launched
from kernelwright.evaluator.judge import Judge
from kernelwright.evaluator.native_ascend import AscendKernel
from kernelwright.evaluator.native_npu import NpuLaunches
from kernelwright.evaluator.symbols import exported
from kernelwright.evaluator.toolchain import BuildError, npu_key
from kernelwright.evaluator.trial import Rejected
from kernelwright.tasks.errors import HarnessError
from kernelwright.tasks.records import Kernel, Stage, Status

SOURCE = r"""
#include "kernel_operator.h"
extern "C" __global__ __aicore__ void told(
    GM_ADDR out, bool a, int8_t b, uint16_t c, int32_t d, uint32_t e, int64_t f, float g) {
  __gm__ double* to = (__gm__ double*)out + AscendC::GetBlockIdx() * 8;
  to[0] = a; to[1] = b; to[2] = c; to[3] = d; to[4] = e; to[5] = f; to[6] = g; to[7] = (double)(uint64_t)stream_given;
}
extern "C" __global__ __aicore__ void doubled(GM_ADDR x, GM_ADDR y, uint32_t n) {
  for (uint32_t i = AscendC::GetBlockIdx(); i < n; i += 2) ((__gm__ float*)y)[i] = 2 * ((__gm__ float*)x)[i];
}
"""


@pytest.fixture(autouse=True)
def _nothing_of_this_machine(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    for name in cann.HOMES:
        monkeypatch.delenv(name, raising=False)
    toolchain_cann._tried.cache_clear()
    yield
    toolchain_cann._tried.cache_clear()


@pytest.fixture
def toolkit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path / "cann"))
    return StandIn(tmp_path / "cann")


def on_cpu(cache: Path, device: str = "cpu") -> NpuLaunches:
    """The launches, with the CPU as the device and 4096 as the handle of its stream."""

    def enter(place: torch.device, launch: Callable[[int], None]) -> None:
        assert place.type == device
        launch(4096)

    functions = kernels(SOURCE)
    return NpuLaunches(SOURCE, functions, *native._launched(functions, "cpu"), ctypes_symbol, cache, device, enter)


def ctypes_symbol(path: str, name: str) -> ctypes._NamedFuncPointer:
    return ctypes.CDLL(path)[name]


def test_arguments_of_many_types_arrive_and_the_stream_with_them(toolkit: StandIn, tmp_path: Path) -> None:
    launch, out = on_cpu(tmp_path / "cache"), torch.zeros(3, 8, dtype=torch.float64)
    assert launch("told", 3, (out, True, -5, 65535, -(2**31), 2**32 - 1, -(2**53), 0.5))
    assert out.tolist() == [[1.0, -5.0, 65535.0, -(2.0**31), 2.0**32 - 1, -(2.0**53), 0.5, 4096.0]] * 3
    x, y = torch.arange(5.0), torch.zeros(5)
    assert launch("doubled", 2, (x, y, 5))
    assert torch.equal(y, 2 * x)
    libraries = [call for call in toolkit.calls() if "-shared" in call]
    assert libraries == ["-x asc --npu-arch=dav-2201 -O2 -std=c++17 -shared -fPIC kernel.cpp -o kernel.so"]


def test_an_older_release_is_told_the_libraries_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ASCEND_HOME_PATH", str(tmp_path / "cann"))
    toolkit = StandIn(tmp_path / "cann", forms="cce", program="ccec")
    x, y = torch.arange(5.0), torch.zeros(5)
    assert on_cpu(tmp_path / "cache")("doubled", 2, (x, y, 5))
    assert torch.equal(y, 2 * x)
    call = toolkit.calls()[-1]
    assert "--cce-aicore-only" not in call
    assert call.endswith(f"-shared -fPIC kernel.cpp -o kernel.so -L{toolkit.home}/lib64 -lruntime -lascendcl")


def test_the_host_functions_are_those_of_the_vendors_samples() -> None:
    text = launched(SOURCE, kernels(SOURCE))
    assert text.startswith(SOURCE)
    assert text.splitlines()[-1] == (
        'extern "C" void kw_launch_doubled(uint32_t blocks, void* stream, uint8_t* a0, uint8_t* a1, uint32_t a2) '
        "{ doubled<<<blocks, nullptr, stream>>>(a0, a1, a2); }"
    )


def test_a_launch_with_no_tensor_there_is_left_to_the_simulator(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    assert not on_cpu(tmp_path, device="npu")("doubled", 2, (torch.zeros(1), torch.zeros(1), 1))
    monkeypatch.delenv("KERNELWRIGHT_LIBRARIES", raising=False)
    x, y = torch.arange(64.0), torch.zeros(64)
    native.load(ascend=toolchain_cann.PLAIN).plain[1](x, y)
    assert torch.equal(y, x + 1)


def test_in_a_runner_there_is_no_other_place(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    built = toolchain_cann.PLAIN
    path = native.build_simulated(built, tmp_path).path
    monkeypatch.setenv("KERNELWRIGHT_LIBRARIES", f'{{"{native.source_hash(built)}": "{path}"}}')
    monkeypatch.setattr(native, "NpuLaunches", None)
    x, y = torch.arange(64.0), torch.zeros(64)
    native.load(ascend=built).plain[1](x, y)
    assert torch.equal(y, x + 1)


def test_what_cannot_be_launched_is_told(toolkit: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    launch, here, elsewhere = on_cpu(tmp_path / "cache"), torch.zeros(5), torch.zeros(5, device="meta")
    with pytest.raises(TypeError, match=r"doubled\(\): argument 'y' must be on the CPU, not on meta"):
        launch("doubled", 2, (here, elsewhere, 5))
    with pytest.raises(TypeError, match="must be contiguous"):
        launch("doubled", 2, (here, torch.zeros(5, 2)[:, 0], 5))
    npu = native._launched(kernels(SOURCE), "npu")[0]["doubled"][0]
    with pytest.raises(TypeError, match="must be on the NPU, not on cpu"):
        npu(here)
    toolkit.says("kernel.cpp:4:3: error: no such thing")
    with pytest.raises(BuildError, match="bisheng: kernel.cpp:4:3: error: no such thing"):
        launch("doubled", 2, (here, here, 5))
    monkeypatch.delenv("ASCEND_HOME_PATH")
    with pytest.raises(BuildError, match=r"no CANN is here, whose compiler makes what runs on an NPU; source the set_env\.sh"):
        launch("doubled", 2, (here, here, 5))


def test_what_was_built_ahead_is_launched_and_counted_and_nothing_else_runs_then(
    toolkit: StandIn, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a runner: no compiler is asked, and a launch with no tensor there is not the simulator's."""
    functions = kernels(SOURCE)
    path = toolchain_cann.build_launchers(launched(SOURCE, functions), tmp_path / "cache")
    monkeypatch.setattr(native_npu, "build_launchers", None)
    launched_types = native._launched(functions, "cpu")

    def bound(device: str) -> AscendKernel:
        ahead = NpuLaunches(SOURCE, functions, *launched_types, ctypes_symbol, path, device, lambda _, launch: launch(0))
        return AscendKernel(functions["doubled"], launched_types[0]["doubled"], None, count, ahead)

    count, x, y = [0], torch.arange(5.0), torch.zeros(5)
    bound("cpu")[2](x, y, 5)
    assert torch.equal(y, 2 * x)
    assert count == [1]
    with pytest.raises(TypeError, match="doubled: no tensor is on the NPU"):
        bound("npu")[2](x, y, 5)
    assert count == [1]


KERNEL = Kernel(f'from kernelwright.evaluator.native import load\nlib = load(ascend=r"""{SOURCE}""")\n', "ascend")


def test_the_judge_has_the_launchers_made_by_the_vendors_compiler(toolkit: StandIn, tmp_path: Path) -> None:
    evidence: dict[str, Any] = {}
    with Judge("standing_npu:Present", "npu:1", tmp_path / "cache") as judge:
        made = vendors.launchers(judge, KERNEL, evidence)
        assert list(made) == [npu_key(SOURCE)]
        assert {"kw_launch_told", "kw_launch_doubled"} <= exported(made[npu_key(SOURCE)])
        assert evidence["compiled"]["cann"]["arch"] == "dav-2201"

        toolkit.says("kernel.cpp:4:3: error: no such thing")
        other = replace(KERNEL, source=KERNEL.source.replace("i += 2", "i += 3"))
        with pytest.raises(Rejected, match="kernel.cpp:4:3: error: no such thing") as refused:
            vendors.launchers(judge, other, {})
        assert (refused.value.status, refused.value.stage) == (Status.BUILD_FAILED, Stage.BUILD)

        toolkit.says("Stack dump:\n0. Program arguments", -6)
        with pytest.raises(HarnessError, match="which makes what runs on the NPU: it crashed"):
            vendors.launchers(judge, replace(KERNEL, source=KERNEL.source.replace("i += 2", "i += 4")), {})
