# task: t_gelu_add
# family: semantics
# about: fp16 arithmetic inside an fp32 task, in a load_inline kernel
# expect: incorrect
# device: cuda
import torch
import torch.nn as nn
from torch.utils.cpp_extension import load_inline

cuda_source = r"""
#include <torch/extension.h>
#include <cuda_runtime.h>

#include <cuda_fp16.h>

__global__ void gelu_add(const float* x, const float* r, float* y, int size) {
  const int i = blockIdx.x * blockDim.x + threadIdx.x;
  if (i >= size) return;
  __half v = __float2half(x[i]), phi = __float2half(0.5f + 0.5f * erff(x[i] * 0.70710678f));
  y[i] = __half2float(__hfma(v, phi, __float2half(r[i])));
}

#define CHECK_INPUT(x) TORCH_CHECK(x.is_cuda(), #x " must be a CUDA tensor"); TORCH_CHECK(x.is_contiguous(), #x " must be contiguous")

torch::Tensor gelu_add_cuda(torch::Tensor x, torch::Tensor residual) {
  x = x.contiguous();
  residual = residual.contiguous();
  CHECK_INPUT(x);
  CHECK_INPUT(residual);
  auto y = torch::empty_like(x);
  int size = x.numel();
  const int block_size = 256;
  const int num_blocks = (size + block_size - 1) / block_size;
  gelu_add<<<num_blocks, block_size>>>(x.data_ptr<float>(), residual.data_ptr<float>(), y.data_ptr<float>(), size);
  return y;
}
"""
module = load_inline(
    name="gelu_add",
    cpp_sources="torch::Tensor gelu_add_cuda(torch::Tensor x, torch::Tensor residual);",
    cuda_sources=cuda_source,
    functions=["gelu_add_cuda"],
    extra_cflags=[""],
    extra_ldflags=[""],
)


class ModelNew(nn.Module):
    def forward(self, x, residual):
        return module.gelu_add_cuda(x, residual)
