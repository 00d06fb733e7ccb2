# task: t_rows_plain
# family: fallback_on_error
# about: a warp a row for short rows, a block for long ones; widths that are no multiple of 16 are outside its envelope
# expect: passed
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import OutsideEnvelope, load

lib = load(
    cuda=r"""
struct Most {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
};
struct Plus {
  __device__ float operator()(float a, float b) const { return a + b; }
};

template <typename Op>
__device__ float over_block(float v, Op op) {
  __shared__ float part[32];
  for (int step = 16; step; step >>= 1) v = op(v, __shfl_xor_sync(0xffffffffu, v, step));
  __syncthreads();
  if (threadIdx.x % 32 == 0) part[threadIdx.x / 32] = v;
  __syncthreads();
  v = part[0];
  for (int i = 1; i < blockDim.x / 32; ++i) v = op(v, part[i]);
  return v;
}

__device__ void softmax_row(const float* from, float* to, int64_t cols) {
  float top = -3.4e38f, total = 0.f;
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) top = fmaxf(top, from[j]);
  top = over_block(top, Most());
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) total += expf(from[j] - top);
  total = over_block(total, Plus());
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) to[j] = expf(from[j] - top) / total;
}

extern "C" __global__ void __launch_bounds__(256) softmax_blocks(const float* x, float* y, int64_t cols) {
  softmax_row(x + blockIdx.x * cols, y + blockIdx.x * cols, cols);
}

extern "C" __global__ void __launch_bounds__(128) softmax_warps(const float* x, float* y, int64_t rows, int64_t cols) {
  int64_t row = blockIdx.x * 4ll + threadIdx.x / 32;
  if (row >= rows) return;
  const float* from = x + row * cols;
  float top = -3.4e38f, total = 0.f;
  for (int64_t j = threadIdx.x % 32; j < cols; j += 32) top = fmaxf(top, from[j]);
  for (int step = 16; step; step >>= 1) top = fmaxf(top, __shfl_xor_sync(0xffffffffu, top, step));
  for (int64_t j = threadIdx.x % 32; j < cols; j += 32) total += expf(from[j] - top);
  for (int step = 16; step; step >>= 1) total += __shfl_xor_sync(0xffffffffu, total, step);
  for (int64_t j = threadIdx.x % 32; j < cols; j += 32) y[row * cols + j] = expf(from[j] - top) / total;
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        rows, cols = x.shape
        if cols % 16:
            raise OutsideEnvelope(f"rows of {cols} are not aligned to 16 values")
        x = x.contiguous()
        y = torch.empty_like(x)
        if cols <= 1024:
            lib.softmax_warps[(rows + 3) // 4, 128](x, y, rows, cols)
        else:
            lib.softmax_blocks[rows, 256](x, y, cols)
        return y
