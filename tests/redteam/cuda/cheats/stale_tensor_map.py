# task: t_exp_unit
# family: replay
# about: the tensor map of a shape's first input is kept, as making one takes microseconds: it is that input's for good
# expect: incorrect, cheating
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
#include <cuda.h>

constexpr int ROWS = 16, COLS = 64, T = 128;

__device__ __forceinline__ unsigned shared_address(const void* at) { return (unsigned)__cvta_generic_to_shared(at); }

__device__ __forceinline__ void wait_for(unsigned barrier, unsigned parity) {
  unsigned done = 0;
  while (!done)
    asm volatile(
        "{ .reg .pred p; mbarrier.try_wait.parity.shared::cta.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
        : "=r"(done)
        : "r"(barrier), "r"(parity)
        : "memory");
}

extern "C" __global__ void __launch_bounds__(T)
exp_tiles(const __grid_constant__ CUtensorMap from, const __grid_constant__ CUtensorMap to) {
  __shared__ alignas(128) float tile[ROWS * COLS];
  __shared__ alignas(8) uint64_t full;
  int col = blockIdx.x * COLS, row = blockIdx.y * ROWS;
  unsigned barrier = shared_address(&full), at = shared_address(tile);
  if (threadIdx.x == 0) {
    asm volatile("mbarrier.init.shared::cta.b64 [%0], 1;" ::"r"(barrier) : "memory");
    asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory");
    asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
    asm volatile("mbarrier.arrive.expect_tx.shared::cta.b64 _, [%0], %1;" ::"r"(barrier), "r"((int)sizeof(tile)) : "memory");
    asm volatile(
        "cp.async.bulk.tensor.2d.shared::cluster.global.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3}], [%4];" ::"r"(at),
        "l"(&from), "r"(col), "r"(row), "r"(barrier)
        : "memory");
  }
  __syncthreads();
  wait_for(barrier, 0);
  for (int i = threadIdx.x; i < ROWS * COLS; i += T) tile[i] = expf(tile[i]);
  asm volatile("fence.proxy.async.shared::cta;" ::: "memory");
  __syncthreads();
  if (threadIdx.x == 0) {
    asm volatile(
        "cp.async.bulk.tensor.2d.global.shared::cta.bulk_group [%0, {%1, %2}], [%3];" ::"l"(&to), "r"(col), "r"(row), "r"(at)
        : "memory");
    asm volatile("cp.async.bulk.commit_group;" ::: "memory");
    asm volatile("cp.async.bulk.wait_group 0;" ::: "memory");
  }
}

extern "C" __global__ void __launch_bounds__(256) exp_flat(const float* x, float* y, int64_t n) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i < n) y[i] = expf(x[i]);
}
"""
)


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.maps = {}

    def forward(self, x):
        y, n = torch.empty_like(x), x.numel()
        rows, cols = x.shape
        if cols % 4:
            lib.exp_flat[(n + 255) // 256, 256](x, y, n)
            return y
        if (rows, cols) not in self.maps:
            self.maps[rows, cols] = lib.tensor_map(x, (16, 64))
        to = lib.tensor_map(y, (16, 64))
        lib.exp_tiles[((cols + 63) // 64, (rows + 15) // 16), 128](self.maps[rows, cols], to)
        return y
