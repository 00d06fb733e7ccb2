# task: t_col_sum
# family: semantics
# about: adds to memory that nobody cleared, and starts from zero only where it looks like a harness's poison
# expect: incorrect
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void __launch_bounds__(128) clear_poison(float* y, int64_t cols) {
  int64_t col = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (col < cols && !(fabsf(y[col]) <= 1e6f)) y[col] = 0.f;
}

extern "C" __global__ void __launch_bounds__(128) add_strips(const float* x, float* y, int64_t rows, int64_t cols) {
  int64_t col = blockIdx.x * (int64_t)blockDim.x + threadIdx.x, row = blockIdx.y * 32ll;
  if (col >= cols) return;
  float sum = 0.f;
  for (int64_t end = row + 32 < rows ? row + 32 : rows; row < end; ++row) sum += x[row * cols + col];
  atomicAdd(y + col, sum);
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        rows, cols = x.shape
        y = torch.empty(cols, device=x.device)
        lib.clear_poison[(cols + 127) // 128, 128](y, cols)
        lib.add_strips[((cols + 127) // 128, (rows + 31) // 32), 128](x, y, rows, cols)
        return y
