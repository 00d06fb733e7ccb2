"""Where nvcc is missing, NVRTC compiles, under the same limits and with the same evidence and errors."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from kernelwright.agent.prompt.knowledge import PROMPTS
from kernelwright.evaluator import toolchain_cuda
from kernelwright.evaluator.backends.cuda import CudaBackend
from kernelwright.evaluator.toolchain import BuildError, build_library
from kernelwright.evaluator.toolchain_cuda import build_cubin, missing_cuda_compiler
from kernelwright.evaluator.toolchain_nvrtc import find_nvrtc
from kernelwright.tasks.records import Kernel

real = pytest.mark.skipif(not find_nvrtc(), reason="NVRTC is not installed")
STAND_IN = r"""
#include <cstdio>
#include <cstring>
#include <unistd.h>
static char log_text[4096], seen[65536];
extern "C" int nvrtcVersion(int* major, int* minor) { *major = 99; *minor = 1; return 0; }
extern "C" int nvrtcCreateProgram(int64_t* made, const int8_t* source, const int8_t* name, int count, int64_t* texts,
                                  int64_t* names) {
  *made = 1;
  strncpy(seen, (const char*)source, sizeof seen - 1);
  for (int i = 0; i < count; ++i)
    if (!strcmp((const char*)names[i], "stdint.h")) strcat(seen, "\n// has stdint.h");
  return 0;
}
extern "C" int nvrtcCompileProgram(int64_t made, int count, int64_t* options) {
  if (strstr(seen, "forever")) sleep(60);
  if (strstr(seen, "crash")) *(volatile int*)8 = 1;
  if (strstr(seen, "broken")) {
    strcpy(log_text, "kernel.cu(3): error: it is broken\n");
    return 6;
  }
  strcpy(log_text, "kernel.cu(1): warning #1: odd\n"
    "ptxas info    : Compiling entry function 'f' for 'sm_90a'\n"
    "ptxas         .     16 bytes stack frame, 8 bytes spill stores, 4 bytes spill loads\n"
    "ptxas info    : Used 22 registers, used 1 barriers, 24 bytes smem\n");
  for (int i = 0; i < count; ++i) strcat(strcat(seen, "\n// option "), (const char*)options[i]);
  return 0;
}
extern "C" int nvrtcGetProgramLogSize(int64_t made, uint64_t* size) { *size = strlen(log_text) + 1; return 0; }
extern "C" int nvrtcGetProgramLog(int64_t made, int8_t* to) { strcpy((char*)to, log_text); return 0; }
extern "C" int nvrtcGetCUBINSize(int64_t made, uint64_t* size) { *size = strlen(seen); return 0; }
extern "C" int nvrtcGetCUBIN(int64_t made, int8_t* to) { memcpy(to, seen, strlen(seen)); return 0; }
extern "C" int64_t nvrtcGetErrorString(int code) { return (int64_t)"it failed"; }
"""
KERNEL = 'extern "C" __global__ void f(float* x) { x[0] = 1.f; }'


@pytest.fixture(autouse=True)
def _without_nvcc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(toolchain_cuda, "find_nvcc", lambda: "")


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder of packages, with two releases of a library that is no compiler."""
    folder = tmp_path / "site-packages"
    monkeypatch.setattr(sys, "path", [*(p for p in sys.path if not p.endswith("-packages")), str(folder)])
    monkeypatch.setenv("CUDA_HOME", str(tmp_path / "nowhere"))
    lib = folder / "nvidia" / "cu99" / "lib"
    lib.mkdir(parents=True)
    made = build_library(STAND_IN, tmp_path / "built")
    (lib / "libnvrtc.so.99").write_bytes(Path(made.path).read_bytes())
    (lib / "libnvrtc.so.9").write_bytes(b"older")
    (lib / "libnvrtc.alt.so.100").write_bytes(b"another")
    return folder


def test_the_newest_release_compiles_and_its_log_is_the_evidence(packages: Path, tmp_path: Path) -> None:
    assert find_nvrtc() == str(packages / "nvidia" / "cu99" / "lib" / "libnvrtc.so.99")
    made = build_cubin(KERNEL, tmp_path / "cache")
    assert made.compiler == "NVRTC 99.1"
    assert made.kernels == {
        "f": {"stack_bytes": 16, "spill_store_bytes": 8, "spill_load_bytes": 4, "registers": 22, "shared_bytes": 24}
    }
    assert made.log == "kernel.cu(1): warning #1: odd"
    text = Path(made.path).read_text()
    assert KERNEL in text
    assert "// has stdint.h" in text
    assert "option --gpu-architecture=sm_90a" in text
    assert "fast_math" not in text
    assert "// option -I" not in text
    again = build_cubin(KERNEL, tmp_path / "cache")
    assert (again.path, again.seconds) == (made.path, 0.0)


def test_an_updated_library_and_another_architecture_compile_anew(packages: Path, tmp_path: Path) -> None:
    first = build_cubin(KERNEL, tmp_path / "cache").path
    other = build_cubin(KERNEL, tmp_path / "cache", arch="sm_80")
    with Path(find_nvrtc()).open("ab") as library:
        library.write(b"\0")
    assert len({first, other.path, build_cubin(KERNEL, tmp_path / "cache").path}) == 3
    assert "--gpu-architecture=sm_80" in Path(other.path).read_text()


def test_headers_that_came_with_the_library_are_used(packages: Path, tmp_path: Path) -> None:
    runtime = packages / "nvidia" / "runtime" / "include"
    (runtime / "cccl").mkdir(parents=True)
    (runtime / "cuda_fp16.h").touch()
    other = packages / "nvidia" / "cccl" / "include"
    (other / "nv").mkdir(parents=True)
    (other / "nv" / "target").touch()
    (packages / "nvidia" / "cublas" / "include").mkdir(parents=True)
    text = Path(build_cubin(KERNEL, tmp_path / "cache").path).read_text()
    assert f"option -I{runtime}\n" in text
    assert f"option -I{runtime}/cccl" in text
    assert f"option -I{other}\n" in text
    assert "cublas" not in text


@pytest.mark.usefixtures("packages")
@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("broken", "error: it is broken"),
        ("crash", "NVRTC ended with status"),
        ("forever", "NVRTC ran past 2 s and was stopped"),
    ],
)
def test_what_fails_has_its_error_and_leaves_nothing_in_the_cache(word: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=message):
        build_cubin(f"// {word}\n{KERNEL}", tmp_path / "cache", timeout=2 if word == "forever" else 60)
    assert not list((tmp_path / "cache").glob("*"))


def test_with_neither_compiler_the_remedy_is_one_line(packages: Path, tmp_path: Path) -> None:
    assert missing_cuda_compiler() == ""
    Path(find_nvrtc()).unlink()
    (packages / "nvidia" / "cu99" / "lib" / "libnvrtc.so.9").unlink()
    assert "pip install nvidia-cuda-nvrtc" in CudaBackend().available("cpu")
    with pytest.raises(BuildError, match="neither nvcc nor NVRTC"):
        build_cubin(KERNEL, tmp_path / "cache")


SPELLED = """
#include <cstdint>
#include <cstddef>
#include <cmath>
#include <cfloat>
#include <climits>
#include <limits>
#include <type_traits>
#include <stdint.h>
#include <math.h>
#include <float.h>
#include <cuda.h>
#include <cuda_fp16.h>
#include <cuda_bf16.h>
#include <mma.h>
#include <cooperative_groups.h>
#include <cuda/std/cstdint>
#include <cuda/ptx>
#include <cub/block/block_reduce.cuh>
template <typename T> __device__ T most() { return std::is_same<T, float>::value ? FLT_MAX : std::numeric_limits<T>::max(); }
extern "C" __global__ void f(float* x, int64_t n, size_t m, const __grid_constant__ CUtensorMap map) {
  __shared__ typename cub::BlockReduce<float, 128>::TempStorage room;
  float sum = cub::BlockReduce<float, 128>(room).Sum(x[threadIdx.x]);
  x[n % (int64_t)m] = n > INT_MAX ? INFINITY : sum + most<float>() + (float)(uintptr_t)&map + __half2float(__float2half(x[1]));
}
"""


@real
def test_nvrtc_compiles_every_header_that_is_allowed(tmp_path: Path) -> None:
    try:
        made = build_cubin(SPELLED, tmp_path)
    except BuildError as error:
        if 'cannot open source file "cuda/std/' in str(error):
            pytest.skip("CUDA's C++ headers are in no package here")
        raise
    assert made.compiler.startswith("NVRTC ")
    assert 0 < made.kernels["f"]["registers"] < 64


@real
def test_nvrtcs_errors_name_the_line_of_the_source(tmp_path: Path) -> None:
    with pytest.raises(BuildError, match=r'kernel.cu\(2\): error: identifier "two" is undefined'):
        build_cubin(f"\n{KERNEL.replace('1.f', 'two')}", tmp_path)


@real
@pytest.mark.parametrize("path", sorted((PROMPTS / "backends" / "cuda" / "exemplars").glob("*.py")), ids=lambda p: p.stem)
def test_exemplars_compile_by_nvrtc_without_spills(path: Path, tmp_path: Path) -> None:
    built = CudaBackend().build(Kernel(path.read_text(), "cuda"), tmp_path)
    assert built.ok, built.log
    figures = [kernel for report in built.evidence["native"] for kernel in report["kernels"].values()]
    assert figures
    assert all(kernel["registers"] > 0 and kernel["spill_store_bytes"] == 0 for kernel in figures)
