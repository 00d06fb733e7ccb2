"""Kernels of a CUDA source on the CPU, for tests of what launches them: a thread for each CUDA thread, blocks one by one.

It knows indices, shared memory, ``__syncthreads`` and atomics on floats; no warps. Slow: a few hundred threads at most.
"""

from __future__ import annotations

import ctypes
import re
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch

from kernelwright.evaluator.prototypes import Prototype

_SHIM = r"""
#include <algorithm>
#include <barrier>
#include <cmath>
#include <cstdint>
#include <cstring>
#include <limits>
#include <mutex>
#include <thread>
#include <vector>
#define __global__
#define __device__
#define __host__
#define __forceinline__ inline
#define __shared__ static
#define __constant__
#define __launch_bounds__(...)
using std::max; using std::min;
struct dim3 { unsigned x, y, z; };
static thread_local dim3 threadIdx; static dim3 blockIdx, blockDim, gridDim;
static std::barrier<>* bar; static std::mutex lock;
static void __syncthreads() { bar->arrive_and_wait(); }
static float atomicAdd(float* p, float v) { std::lock_guard<std::mutex> held(lock); float was = *p; *p += v; return was; }
template <class F> void each_thread(const unsigned* c, F f) {
  gridDim = {c[0], c[1], c[2]}; blockDim = {c[3], c[4], c[5]};
  unsigned n = c[3] * c[4] * c[5];
  for (unsigned b = 0; b < c[0] * c[1] * c[2]; ++b) {
    blockIdx = {b % c[0], b / c[0] % c[1], b / c[0] / c[1]};
    std::barrier<> here(n); bar = &here;
    std::vector<std::thread> all;
    for (unsigned t = 0; t < n; ++t)
      all.emplace_back([&, t] { threadIdx = {t % c[3], t / c[3] % c[4], t / c[3] / c[4]}; f(); });
    for (auto& one : all) one.join();
  }
}
"""
_TYPES = {"bool": "bool", "int32": "int", "uint32": "unsigned", "int64": "long", "uint64": "unsigned long"}
_TYPES |= {"float32": "float", "float64": "double"}
_STORED: Mapping[str, Any] = {
    "bool": ctypes.c_bool,
    "int32": ctypes.c_int32,
    "uint32": ctypes.c_uint32,
    "int64": ctypes.c_int64,
    "uint64": ctypes.c_uint64,
    "float32": ctypes.c_float,
    "float64": ctypes.c_double,
}


class OnCpu:
    """Launched like a ``CudaLibrary``, with tensors on the CPU; ``launched`` has name and configuration of each launch."""

    def __init__(self, device: str, entries: Mapping[str, Prototype], folder: Path) -> None:
        self.launched: list[tuple[str, tuple[Any, ...]]] = []
        self._entries = entries
        source = folder / "kernels.cpp"
        source.write_text(_SHIM + _without_cuda_headers(device) + "".join(map(_caller, entries.values())))
        command = [
            "g++",
            "-O1",
            "-g0",
            "-std=c++20",
            "-shared",
            "-fPIC",
            "-pthread",
            "-w",
            str(source),
            "-o",
            str(folder / "k.so"),
        ]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr[:3000]
        self._library = ctypes.CDLL(str(folder / "k.so"))

    def __getattr__(self, name: str) -> Any:
        prototype = self._entries[name]
        called = self._library[f"on_cpu_{name}"]

        def configured(key: tuple[Any, ...]) -> Callable[..., None]:
            def call(*arguments: Any) -> None:
                self.launched.append((name, key))
                assert len(arguments) == len(prototype.parameters)
                kept = [_stored(value, p.type.kind) for value, p in zip(arguments, prototype.parameters, strict=True)]
                pointers = (ctypes.c_void_p * max(1, len(kept)))(*(ctypes.addressof(each) for each in kept))
                called((ctypes.c_uint * 6)(*key[0], *key[1]), pointers)

            return call

        return _Configured(configured)


class _Configured:
    def __init__(self, configured: Callable[[tuple[Any, ...]], Callable[..., None]]) -> None:
        self._configured = configured

    def __getitem__(self, key: tuple[Any, ...]) -> Callable[..., None]:
        return self._configured(key)


def _stored(value: Any, kind: str) -> Any:
    if value is None or isinstance(value, torch.Tensor):
        assert value is None or value.is_contiguous()
        return ctypes.c_void_p(None if value is None else value.data_ptr())
    return _STORED[kind](value)


def _caller(entry: Prototype) -> str:
    given = [
        f"*(void**)a[{i}]" if p.type.pointer else f"*({_TYPES[p.type.kind]}*)a[{i}]" for i, p in enumerate(entry.parameters)
    ]
    types = f"template <class... T> void go_{entry.name}(void (*f)(T...), const unsigned* c, void** a) {{ "
    unpacked = ", ".join(f"(std::tuple_element_t<{i}, std::tuple<T...>>){each}" for i, each in enumerate(given))
    return (
        f"\n#include <tuple>\n{types}each_thread(c, [&] {{ f({unpacked}); }}); }}\n"
        f'extern "C" void on_cpu_{entry.name}(const unsigned* c, void** a) {{ go_{entry.name}(&{entry.name}, c, a); }}\n'
    )


def _without_cuda_headers(device: str) -> str:
    return re.sub(r"^\s*#\s*include\s*<(?:cuda|mma|cooperative|device_)[^>]*>", "", device, flags=re.MULTILINE)
