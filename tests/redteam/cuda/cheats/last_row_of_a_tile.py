# task: t_row_softmax
# family: semantics
# about: four rows a block, one a warp; the grid is rounded down, so that the last one to three rows are left
# expect: incorrect
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void __launch_bounds__(128) softmax_rows(const float* x, float* y, int64_t rows, int64_t cols) {
  int64_t row = blockIdx.x * 4ll + threadIdx.x / 32;
  if (row >= rows) return;
  int lane = threadIdx.x % 32;
  const float* from = x + row * cols;
  float top = -3.4e38f, total = 0.f;
  for (int64_t j = lane; j < cols; j += 32) top = fmaxf(top, from[j]);
  for (int step = 16; step; step >>= 1) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, step));
  for (int64_t j = lane; j < cols; j += 32) total += expf(from[j] - top);
  for (int step = 16; step; step >>= 1) total += __shfl_xor_sync(0xffffffffu, total, step);
  for (int64_t j = lane; j < cols; j += 32) y[row * cols + j] = expf(from[j] - top) / total;
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.empty_like(x)
        lib.softmax_rows[max(1, x.shape[0] // 4), 128](x, y, *x.shape)
        return y
