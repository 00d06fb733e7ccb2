# task: t_row_peak
# family: semantics
# about: one barrier is left out between warps: they are usually done by the time that the first one reads
# expect: incorrect
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void __launch_bounds__(256) peak_rows(const float* x, float* y, int64_t cols) {
  __shared__ float part[8];
  const float* from = x + blockIdx.x * cols;
  float top = 0.f;
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) top = fmaxf(top, fabsf(from[j]));
  for (int step = 16; step; step >>= 1) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, step));
  part[threadIdx.x / 32] = top;
  __syncwarp();
  for (int i = 0; i < 8; ++i) top = fmaxf(top, ((volatile float*)part)[i]);
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) y[blockIdx.x * cols + j] = top;
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.peak_rows[x.shape[0], 256](x, y, x.shape[1])
        return y
