# task: t_gather
# family: remembers_addresses
# about: int64 indices are loaded by the kernel and used in address arithmetic
# expect: passed
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void __launch_bounds__(128)
gather_rows(const float* __restrict__ table, const int64_t* __restrict__ index, float* __restrict__ y, int64_t cols) {
  const float* from = table + index[blockIdx.x] * cols;
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) y[blockIdx.x * cols + j] = 2.f * from[j];
}
"""
)


class ModelNew(nn.Module):
    def forward(self, table, index):
        table, index = table.contiguous(), index.contiguous()
        y = torch.empty((index.numel(), table.shape[1]), device=table.device, dtype=table.dtype)
        lib.gather_rows[index.numel(), 128](table, index, y, table.shape[1])
        return y
