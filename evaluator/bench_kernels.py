"""What the judge's own speed is measured with: honest kernels and their tasks, small and with calls of 5 ms and more."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from kernelwright.tasks.errors import InputError
from kernelwright.tasks.records import Kernel, ShapeCase, Task, Use

_SOFTMAX = """
import torch
from torch import nn

rows = 512
cols = 1024


class Model(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=-1)


def get_inputs():
    return [torch.randn(rows, cols)]
"""

_MATMUL = """
import torch
from torch import nn

M = 64
K = 128
N = 64


class Model(nn.Module):
    def forward(self, a, b):
        return a @ b


def get_inputs():
    return [torch.randn(M, K), torch.randn(K, N)]
"""

_CPP_SOFTMAX = """
# kernel VARIANT
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(cpp=r'''
// kernel VARIANT
static inline float exponential(float x) {  // x <= 0; Cephes' polynomial, no branch that would keep it from vectors
  int32_t bits = __builtin_bit_cast(int32_t, x) & 0x7fffffff;
  bits = bits < 0x42ae0000 ? bits : 0x42ae0000;  // |x| up to 87
  x = -__builtin_bit_cast(float, bits);
  const int32_t k = (int32_t)(x * 1.44269504f - 0.5f);
  const float n = (float)k;
  x -= n * 0.693359375f;
  x += n * 2.12194440e-4f;
  float p = 1.9875691500e-4f;
  p = p * x + 1.3981999507e-3f;
  p = p * x + 8.3334519073e-3f;
  p = p * x + 4.1665795894e-2f;
  p = p * x + 1.6666665459e-1f;
  p = p * x + 5.0000001201e-1f;
  p = p * x * x + x + 1.0f;
  return p * __builtin_bit_cast(float, (k + 127) << 23);
}

extern "C" void softmax(const float* x, float* y, int64_t rows, int64_t n) {
  #pragma omp parallel for
  for (int64_t r = 0; r < rows; ++r) {
    const float* in = x + r * n;
    float* out = y + r * n;
    float peak = in[0], sum = 0.0f;
    #pragma omp simd reduction(max: peak)
    for (int64_t i = 0; i < n; ++i) peak = in[i] > peak ? in[i] : peak;
    #pragma omp simd reduction(+: sum)
    for (int64_t i = 0; i < n; ++i) { out[i] = exponential(in[i] - peak); sum += out[i]; }
    const float scale = 1.0f / sum;
    #pragma omp simd
    for (int64_t i = 0; i < n; ++i) out[i] *= scale;
  }
}
''')


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        lib.softmax(x, y, x.shape[0], x.shape[1])
        return y
"""

_TRITON_SOFTMAX = """
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def softmax_rows(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    # kernel VARIANT
    row = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, BLOCK)
    inside = col < cols
    x = tl.load(x_ptr + row * cols + col, mask=inside, other=-float("inf"))
    e = tl.exp(x - tl.max(x, 0))
    tl.store(y_ptr + row * cols + col, e / tl.sum(e, 0), mask=inside)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y = torch.empty_like(x)
        block = triton.next_power_of_2(x.shape[1])
        softmax_rows[(x.shape[0],)](x, y, x.shape[1], BLOCK=block, num_warps=min(16, max(4, block // 512)))
        return y
"""

_TRITON_MATMUL = """
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def matmul_tiles(a_ptr, b_ptr, c_ptr, M, N, K, BM: tl.constexpr, BN: tl.constexpr, BK: tl.constexpr):
    # kernel VARIANT
    across = tl.cdiv(N, BN)
    m = tl.program_id(0) // across * BM + tl.arange(0, BM)
    n = tl.program_id(0) % across * BN + tl.arange(0, BN)
    acc = tl.zeros((BM, BN), dtype=tl.float32)
    for start in range(0, K, BK):
        k = start + tl.arange(0, BK)
        a = tl.load(a_ptr + m[:, None] * K + k[None, :], mask=(m < M)[:, None] & (k < K)[None, :], other=0.0)
        b = tl.load(b_ptr + k[:, None] * N + n[None, :], mask=(k < K)[:, None] & (n < N)[None, :], other=0.0)
        acc = tl.dot(a, b, acc, input_precision="tf32x3")
    tl.store(c_ptr + m[:, None] * N + n[None, :], acc, mask=(m < M)[:, None] & (n < N)[None, :])


class ModelNew(nn.Module):
    def forward(self, a, b):
        a, b = a.contiguous(), b.contiguous()
        (m, k), n = a.shape, b.shape[1]
        c = torch.empty((m, n), device=a.device, dtype=a.dtype)
        grid = (triton.cdiv(m, 64) * triton.cdiv(n, 64),)
        matmul_tiles[grid](a, b, c, m, n, k, BM=64, BN=64, BK=32, num_warps=8, num_stages=3)
        return c
"""

_BROKEN = {"cpp": ("float peak = in[0],", "flaot peak = in[0],"), "triton": ("e / tl.sum(e, 0)", "e / tl.summe(e, 0)")}
"""Backend -> what to replace in the small kernel so that it parses as Python and does not compile."""


@dataclass(frozen=True)
class Work:
    """Kernels for one task, as many as asked for."""

    task: Task
    backend: str
    source: str

    def kernel(self, number: int) -> Kernel:
        """One of any number of kernels that differ in their text alone: each is built by itself."""
        return Kernel(self.source.replace("VARIANT", str(number)), self.backend)

    def unparsable(self, number: int) -> Kernel:
        """One that is no Python."""
        return Kernel(self.kernel(number).source + "\ndef forward(:\n", self.backend)

    def uncompilable(self, number: int) -> Kernel:
        """One that the language's compiler refuses."""
        return Kernel(self.kernel(number).source.replace(*_BROKEN[self.backend]), self.backend)


def small(backend: str) -> Work:
    """Row softmax, timed at a size that is typical of the library's tasks.

    Raises:
        InputError: there is no kernel for this backend.
    """
    source = {"cpp": _CPP_SOFTMAX, "triton": _TRITON_SOFTMAX}.get(backend)
    if source is None:
        raise InputError(f"the benchmark has no kernels for backend {backend!r}", "use cpp or triton")
    held_out = {"unaligned": {"rows": 127, "cols": 769}, "narrow": {"rows": 515, "cols": 5}}
    checked = {"small": {"rows": 8, "cols": 64}, "odd": {"rows": 33, "cols": 517}, "even": {"rows": 128, "cols": 512}}
    timed = _timed({"rows": 512, "cols": 1024}, {"rows": 4096, "cols": 4096})
    return Work(_task("softmax", _SOFTMAX, checked, held_out, timed), backend, source)


def heavy(backend: str, quick: bool = False) -> Work:
    """Calls of 5 ms and more: a large row softmax on the CPU, on a GPU a float32 matrix product. ``quick``: much less.

    Raises:
        InputError: there is no kernel for this backend.
    """
    if backend != "triton":
        first = small(backend)
        sizes = {"rows": 512, "cols": 1024} if quick else {"rows": 4096, "cols": 4096}
        cases = tuple(c for c in first.task.cases if c.use is not Use.TIMING) + (ShapeCase("heavy", Use.TIMING, sizes),)
        return Work(Task("bench/heavy_softmax", _SOFTMAX, "", cases), backend, first.source)
    side = 512 if quick else 5120
    checked = {"small": {"M": 8, "K": 32, "N": 48}, "odd": {"M": 17, "K": 65, "N": 33}, "even": {"M": 64, "K": 128, "N": 64}}
    held_out = {"unaligned": {"M": 67, "K": 203, "N": 77}}
    timed = (ShapeCase("heavy", Use.TIMING, {"M": side, "K": side, "N": side}),)
    return Work(_task("matmul", _MATMUL, checked, held_out, timed), backend, _TRITON_MATMUL)


def _timed(cpu: Mapping[str, int], cuda: Mapping[str, int]) -> tuple[ShapeCase, ...]:
    return ShapeCase("cpu", Use.TIMING, cpu, device="cpu"), ShapeCase("cuda", Use.TIMING, cuda, device="cuda")


def _task(
    name: str,
    source: str,
    checked: Mapping[str, Mapping[str, int]],
    held_out: Mapping[str, Mapping[str, int]],
    timed: tuple[ShapeCase, ...],
) -> Task:
    cases = tuple(ShapeCase(case, Use.CORRECTNESS, sizes) for case, sizes in checked.items())
    hidden = tuple(ShapeCase(case, Use.HELD_OUT, sizes) for case, sizes in held_out.items())
    return Task(f"bench/{name}", source, "", (*cases, *timed, *hidden))
