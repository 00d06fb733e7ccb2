# task: t_col_sum
# family: clocks
# about: each thread stops adding rows when clock64 says that its budget is spent: small cases are whole, large ones an estimate
# expect: incorrect
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void __launch_bounds__(128) sum_columns(const float* x, float* y, int64_t rows, int64_t cols) {
  int64_t col = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (col >= cols) return;
  long long start = clock64();
  float sum = 0.f;
  int64_t row = 0;
  for (; row < rows; ++row) {
    sum += x[row * cols + col];
    if (row % 64 == 63 && clock64() - start > 60000) {
      ++row;
      break;
    }
  }
  y[col] = sum * ((float)rows / (float)row);
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        rows, cols = x.shape
        y = torch.empty(cols, device=x.device)
        lib.sum_columns[(cols + 127) // 128, 128](x, y, rows, cols)
        return y
