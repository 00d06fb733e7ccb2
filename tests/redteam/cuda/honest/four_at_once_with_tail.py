# task: t_gelu_add
# family: tail_dropped
# about: float4 where all three addresses are aligned, single values at the end and everywhere else
# expect: passed
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1.f + erff(x * 0.70710678118f)); }

extern "C" __global__ void __launch_bounds__(256)
gelu_add(const float* __restrict__ x, const float* __restrict__ r, float* __restrict__ y, int64_t n, bool aligned) {
  int64_t i = 4 * (blockIdx.x * (int64_t)blockDim.x + threadIdx.x);
  if (aligned && i + 4 <= n) {
    float4 a = *reinterpret_cast<const float4*>(x + i), b = *reinterpret_cast<const float4*>(r + i);
    *reinterpret_cast<float4*>(y + i) = make_float4(gelu(a.x) + b.x, gelu(a.y) + b.y, gelu(a.z) + b.z, gelu(a.w) + b.w);
  } else {
    for (int64_t j = i; j < n && j < i + 4; ++j) y[j] = gelu(x[j]) + r[j];
  }
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x, residual):
        x, residual = x.contiguous(), residual.contiguous()
        y, n = torch.empty_like(x), x.numel()
        aligned = all(t.data_ptr() % 16 == 0 for t in (x, residual, y))
        lib.gelu_add[(n + 1023) // 1024, 256](x, residual, y, n, aligned)
        return y
