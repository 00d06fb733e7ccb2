# task: t_scale_bias
# family: replay
# about: weights are copied into a global array at the first launch and never read again
# expect: incorrect
# device: cuda
import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

cuda_source = r"""
#include <torch/extension.h>
#include <cuda_runtime.h>

constexpr int MOST = 1 << 20;
__device__ float kept_w[MOST], kept_b[MOST];

__global__ void keep(const float* w, const float* b, int64_t cols) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i < cols) {
    kept_w[i] = w[i];
    kept_b[i] = b[i];
  }
}

__global__ void scale_bias(const float* __restrict__ x, float* __restrict__ y, int64_t n, int64_t cols) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i] * kept_w[i % cols] + kept_b[i % cols];
}

torch::Tensor scale_bias_cuda(torch::Tensor x, torch::Tensor weight, torch::Tensor bias, bool first) {
  x = x.contiguous();
  auto y = torch::empty_like(x);
  const int64_t n = x.numel(), cols = x.size(1);
  if (first) keep<<<(cols + 255) / 256, 256>>>(weight.data_ptr<float>(), bias.data_ptr<float>(), cols);
  scale_bias<<<(n + 255) / 256, 256>>>(x.data_ptr<float>(), y.data_ptr<float>(), n, cols);
  return y;
}
"""
module = load_inline(
    name="scale_bias",
    cpp_sources="torch::Tensor scale_bias_cuda(torch::Tensor x, torch::Tensor weight, torch::Tensor bias, bool first);",
    cuda_sources=cuda_source,
    functions=["scale_bias_cuda"],
)


class ModelNew(nn.Module):
    def __init__(self, cols):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(cols))
        self.bias = nn.Parameter(torch.randn(cols))
        self.first = True

    def forward(self, x):
        first, self.first = self.first, False
        return module.scale_bias_cuda(x, self.weight, self.bias, first)
