"""CUDA C++ is compiled for the GPU that is there, and for Hopper where none is."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from kernelwright.evaluator.backends.cuda import CudaBackend
from kernelwright.evaluator.toolchain import BuildError, build_library
from kernelwright.evaluator.toolchain_cuda import ARCH, build_cubin, device_arch, missing_cuda_compiler
from kernelwright.tasks.records import Kernel

compiler = pytest.mark.skipif(bool(missing_cuda_compiler()), reason="neither nvcc nor NVRTC is installed")
DRIVER = """
extern "C" int cuInit(unsigned flags) { return flags; }
extern "C" int cuDeviceGet(int32_t* device, int at) { *device = 5; return GONE; }
extern "C" int cuDeviceGetAttribute(int32_t* to, int what, int device) {
  *to = what == 75 ? MAJOR : MINOR;
  return device != 5 || (what != 75 && what != 76);
}
"""
KERNEL = 'extern "C" __global__ void f(float* x) { x[0] = 1.f; }'
WGMMA = 'extern "C" __global__ void f() { asm volatile("wgmma.fence.sync.aligned;" ::: "memory"); }'
LOADING = f"""
from kernelwright.evaluator.native import load
lib = load(cuda=r'''{KERNEL}''')
"""


@pytest.fixture(autouse=True)
def _asked_anew() -> Iterator[None]:
    device_arch.cache_clear()
    yield
    device_arch.cache_clear()


def gpu(folder: Path, monkeypatch: pytest.MonkeyPatch, major: int, minor: int, gone: bool = False) -> None:
    """A driver that tells of one GPU stands first on the loader's path."""
    source = DRIVER.replace("MAJOR", str(major)).replace("MINOR", str(minor)).replace("GONE", str(int(gone)))
    shutil.copy(build_library(source, folder).path, folder / "libcuda.so.1")
    monkeypatch.setenv("LD_LIBRARY_PATH", str(folder))


@pytest.mark.parametrize(
    ("major", "minor", "arch"), [(8, 0, "sm_80"), (8, 9, "sm_89"), (9, 0, "sm_90a"), (10, 0, "sm_100a"), (12, 0, "sm_120a")]
)
def test_the_gpu_says_what_is_compiled_for(
    major: int, minor: int, arch: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gpu(tmp_path, monkeypatch, major, minor)
    assert device_arch() == arch


def test_without_a_gpu_it_is_hopper(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(tmp_path, monkeypatch, 8, 0, gone=True)
    assert device_arch() == ARCH == "sm_90a"


@compiler
def test_a_build_is_for_the_gpu_and_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gpu(tmp_path, monkeypatch, 8, 0)
    built = CudaBackend().build(Kernel(LOADING, "cuda"), tmp_path / "cache")
    assert built.ok, built.log
    assert built.evidence["native"][0]["arch"] == "sm_80"
    with pytest.raises(BuildError, match="wgmma"):
        build_cubin(WGMMA, tmp_path / "cache")


@compiler
@pytest.mark.parametrize("arch", ["sm_80", "sm_90a", "sm_100a"])
def test_each_architecture_compiles_to_a_cubin_of_its_own(arch: str, tmp_path: Path) -> None:
    made = build_cubin(KERNEL, tmp_path, arch)
    assert made.arch == arch
    assert made.kernels["f"]["registers"] > 0
    assert made.path != build_cubin(KERNEL, tmp_path, "sm_90").path
