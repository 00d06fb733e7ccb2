# task: t_row_peak
# family: semantics
# about: makes the input positive in place and puts the signs back on a stream of its own: wrong for any other reader meanwhile
# expect: cheating, incorrect
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
struct Most {
  __device__ float operator()(float a, float b) const { return fmaxf(a, b); }
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

extern "C" __global__ void strip_signs(float* x, int8_t* signs, int64_t n) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i >= n) return;
  signs[i] = signbit(x[i]) ? 1 : 0;
  x[i] = fabsf(x[i]);
}

extern "C" __global__ void restore(float* x, const int8_t* signs, int64_t n) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i < n && signs[i]) x[i] = -x[i];
}

extern "C" __global__ void __launch_bounds__(256) peak_rows(const float* x, float* y, int64_t cols) {
  const float* from = x + blockIdx.x * cols;
  float top = 0.f;
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) top = fmaxf(top, from[j]);
  top = over_block(top, Most());
  for (int64_t j = threadIdx.x; j < cols; j += blockDim.x) y[blockIdx.x * cols + j] = top;
}
"""
)


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.side = None

    def forward(self, x):
        n, grid = x.numel(), (x.numel() + 255) // 256
        y, signs = torch.empty_like(x), torch.empty_like(x, dtype=torch.int8)
        lib.strip_signs[grid, 256](x, signs, n)
        lib.peak_rows[x.shape[0], 256](x, y, x.shape[1])
        self.side = self.side or torch.cuda.Stream()
        self.side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.side):  # nobody needs the signs at once
            lib.restore[grid, 256](x, signs, n)
        return y
