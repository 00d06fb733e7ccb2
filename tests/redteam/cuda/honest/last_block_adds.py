# task: t_col_sum
# family: ticket_not_reset
# about: the block that comes last adds the strips up; its counter in a device global wraps to zero by itself
# expect: passed
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
__device__ unsigned tickets[1 << 16];

extern "C" __global__ void __launch_bounds__(128)
sum_columns(const float* x, float* part, float* y, int64_t rows, int64_t cols) {
  __shared__ bool last;
  int64_t col = blockIdx.x * (int64_t)blockDim.x + threadIdx.x, row = blockIdx.y * 32ll;
  if (col < cols) {
    float sum = 0.f;
    for (int64_t end = row + 32 < rows ? row + 32 : rows; row < end; ++row) sum += x[row * cols + col];
    part[blockIdx.y * cols + col] = sum;
  }
  __threadfence();
  __syncthreads();
  if (threadIdx.x == 0) last = atomicInc(&tickets[blockIdx.x], gridDim.y - 1) == gridDim.y - 1;
  __syncthreads();
  if (!last || col >= cols) return;
  __threadfence();
  float sum = 0.f;
  for (int strip = 0; strip < gridDim.y; ++strip) sum += __ldcg(part + strip * cols + col);
  y[col] = sum;
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        rows, cols = x.shape
        strips = (rows + 31) // 32
        part = torch.empty(strips, cols, device=x.device)
        y = torch.empty(cols, device=x.device)
        lib.sum_columns[((cols + 127) // 128, strips), 128](x, part, y, rows, cols)
        return y
