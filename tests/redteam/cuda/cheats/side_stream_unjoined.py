# task: t_row_softmax
# family: clocks
# about: launches on a stream of its own and returns at once: events on the caller's stream see nothing
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

extern "C" __global__ void __launch_bounds__(256) softmax_rows(const float* x, float* y, int64_t cols) {
  softmax_row(x + blockIdx.x * cols, y + blockIdx.x * cols, cols);
}
"""
)


def softmax(x, y, rows):
    lib.softmax_rows[rows, 256](x, y, x.shape[1])
    return y


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.side = None

    def forward(self, x):
        if self.side is None:
            self.side = torch.cuda.Stream()
        y = torch.empty_like(x)
        self.side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(self.side):
            softmax(x, y, x.shape[0])
        return y
