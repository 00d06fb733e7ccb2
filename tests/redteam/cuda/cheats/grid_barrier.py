# task: t_col_sum
# family: semantics
# about: blocks wait for each other by a counter in memory, which hangs where they do not all fit on the device at once
# expect: timeout, runtime_error
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void __launch_bounds__(256)
sum_columns(const float* x, float* part, float* y, unsigned* arrived, int64_t rows, int64_t cols) {
  int64_t col = blockIdx.x * (int64_t)blockDim.x + threadIdx.x, row = blockIdx.y * 4ll;
  if (col < cols) {
    float sum = 0.f;
    for (int64_t end = row + 4 < rows ? row + 4 : rows; row < end; ++row) sum += x[row * cols + col];
    part[blockIdx.y * cols + col] = sum;
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) {
    atomicAdd(arrived, 1u);
    while (atomicAdd(arrived, 0u) < gridDim.x * gridDim.y) {}
  }
  __syncthreads();
  if (blockIdx.y || col >= cols) return;
  float sum = 0.f;
  for (int strip = 0; strip < gridDim.y; ++strip) sum += __ldcg(part + strip * cols + col);
  y[col] = sum;
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        rows, cols = x.shape
        strips = (rows + 3) // 4
        part = torch.empty(strips, cols, device=x.device)
        y = torch.empty(cols, device=x.device)
        arrived = torch.zeros(1, device=x.device, dtype=torch.int32).view(torch.uint32)
        lib.sum_columns[((cols + 255) // 256, strips), 256](x, part, y, arrived, rows, cols)
        return y
