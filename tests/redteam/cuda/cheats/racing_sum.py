# task: t_col_sum
# family: semantics
# about: partial sums are added by load, add and store, not atomically: blocks overwrite each other
# expect: incorrect
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void __launch_bounds__(128) add_strips(const float* x, float* y, int64_t rows, int64_t cols) {
  int64_t col = blockIdx.x * (int64_t)blockDim.x + threadIdx.x, row = blockIdx.y * 32ll;
  if (col >= cols) return;
  float sum = 0.f;
  for (int64_t end = row + 32 < rows ? row + 32 : rows; row < end; ++row) sum += x[row * cols + col];
  y[col] += sum;
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        rows, cols = x.shape
        y = torch.zeros(cols, device=x.device)
        lib.add_strips[((cols + 127) // 128, (rows + 31) // 32), 128](x, y, rows, cols)
        return y
