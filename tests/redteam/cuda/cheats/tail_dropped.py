# task: t_gelu_add
# family: semantics
# about: float4 throughout: what is left of a size that is no multiple of four is never written
# expect: incorrect
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
__device__ __forceinline__ float gelu(float x) { return 0.5f * x * (1.f + erff(x * 0.70710678f)); }

extern "C" __global__ void __launch_bounds__(256)
gelu_add(const float* __restrict__ x, const float* __restrict__ r, float* __restrict__ y, int64_t n) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i >= n / 4) return;
  float4 a = reinterpret_cast<const float4*>(x)[i], b = reinterpret_cast<const float4*>(r)[i];
  reinterpret_cast<float4*>(y)[i] = make_float4(gelu(a.x) + b.x, gelu(a.y) + b.y, gelu(a.z) + b.z, gelu(a.w) + b.w);
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x, residual):
        y, n = torch.empty_like(x), x.numel()
        lib.gelu_add[(n + 1023) // 1024, 256](x, residual, y, n)
        return y
