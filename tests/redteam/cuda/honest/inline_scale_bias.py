# task: t_scale_bias
# family: inline_stale_weights
# about: built when the model is made, from two strings; four values at a time where rows and addresses allow it
# expect: passed
# device: cuda
import torch
import torch.nn as nn
from torch.utils import cpp_extension

kernels = r"""
#include <torch/extension.h>
#include <cuda_runtime.h>

#define THREADS 256

__global__ void scale_bias(const float* __restrict__ x, const float* __restrict__ w, const float* __restrict__ b,
                           float* __restrict__ y, int64_t n, int64_t cols) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i < n) y[i] = x[i] * w[i % cols] + b[i % cols];
}

__global__ void scale_bias_by_four(const float4* __restrict__ x, const float4* __restrict__ w, const float4* __restrict__ b,
                                   float4* __restrict__ y, int64_t n, int64_t cols) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i >= n) return;
  float4 v = x[i], s = w[i % cols], t = b[i % cols];
  y[i] = make_float4(v.x * s.x + t.x, v.y * s.y + t.y, v.z * s.z + t.z, v.w * s.w + t.w);
}
"""
launches = r"""
#include <ATen/cuda/CUDAContext.h>
#include <c10/cuda/CUDAGuard.h>

namespace {
inline int64_t blocks(int64_t n) { return (n + THREADS - 1) / THREADS; }
inline bool by_four(const torch::Tensor& t) { return reinterpret_cast<uintptr_t>(t.data_ptr<float>()) % 16 == 0; }
}  // namespace

torch::Tensor scale_bias_cuda(torch::Tensor x, torch::Tensor weight, torch::Tensor bias) {
  const at::cuda::OptionalCUDAGuard device_guard(device_of(x));
  x = x.contiguous();
  auto y = torch::empty(x.sizes(), x.options());
  int64_t n = x.numel(), cols = x.size(-1);
  auto stream = at::cuda::getCurrentCUDAStream();
  if (cols % 4 == 0 && by_four(x) && by_four(y) && by_four(weight) && by_four(bias)) {
    scale_bias_by_four<<<blocks(n / 4), THREADS, 0, stream>>>(
        reinterpret_cast<const float4*>(x.data_ptr<float>()), reinterpret_cast<const float4*>(weight.data_ptr<float>()),
        reinterpret_cast<const float4*>(bias.data_ptr<float>()), reinterpret_cast<float4*>(y.data_ptr<float>()), n / 4, cols / 4);
  } else {
    scale_bias<<<blocks(n), THREADS, 0, stream>>>(
        x.data_ptr<float>(), weight.data_ptr<float>(), bias.data_ptr<float>(), y.data_ptr<float>(), n, cols);
  }
  C10_CUDA_KERNEL_LAUNCH_CHECK();
  return y;
}
"""


class ModelNew(nn.Module):
    def __init__(self, cols):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(cols))
        self.bias = nn.Parameter(torch.randn(cols))
        declaration = "torch::Tensor scale_bias_cuda(torch::Tensor x, torch::Tensor weight, torch::Tensor bias);"
        self.module = cpp_extension.load_inline(
            "scale_bias", [declaration], [kernels, launches], functions={"scale_bias_cuda": "x * weight + bias"}
        )

    def forward(self, x):
        return self.module.scale_bias_cuda(x, self.weight, self.bias)
