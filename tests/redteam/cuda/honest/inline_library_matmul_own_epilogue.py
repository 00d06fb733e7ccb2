# task: t_linear_relu
# family: inline_softmax_in_library
# about: the host function in C++ leaves the product to the library, as the task allows; bias and relu are one kernel on its result
# expect: passed
# device: cuda
import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

cuda_source = r"""
#include <torch/extension.h>
#include <cuda_runtime.h>

__global__ void __launch_bounds__(256) bias_relu(float* y, const float* b, int64_t n, int64_t N) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i < n) y[i] = fmaxf(y[i] + b[i % N], 0.f);
}

torch::Tensor linear_relu(torch::Tensor x, torch::Tensor weight, torch::Tensor bias) {
  auto y = torch::mm(x, weight.t());
  const int threads = 256;
  dim3 grid((y.numel() + threads - 1) / threads);
  bias_relu<<<grid, threads>>>(y.data_ptr<float>(), bias.data_ptr<float>(), y.numel(), y.size(1));
  cudaError_t error = cudaGetLastError();
  if (error != cudaSuccess) {
    throw std::runtime_error(std::string("launch failed: ") + cudaGetErrorString(error));
  }
  return y;
}

PYBIND11_MODULE(TORCH_EXTENSION_NAME, m) {
  m.def("linear_relu", &linear_relu, "relu(x @ weight.T + bias)");
}
"""
module = load_inline(name="linear_relu", cpp_sources="", cuda_sources=cuda_source)


class ModelNew(nn.Module):
    def __init__(self, K, N):
        super().__init__()
        self.linear = nn.Linear(K, N)  # only holds parameters

    def forward(self, x):
        return module.linear_relu(x, self.linear.weight, self.linear.bias)
