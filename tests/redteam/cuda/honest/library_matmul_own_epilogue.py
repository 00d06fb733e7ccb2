# task: t_linear_relu
# family: empty_launch_beside_torch
# about: the product stays in the library, as the task allows; bias and relu are one kernel in place on its result
# expect: passed
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void __launch_bounds__(256) bias_relu(float* y, const float* b, int64_t n, int64_t N) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i < n) y[i] = fmaxf(y[i] + b[i % N], 0.f);
}
"""
)


class ModelNew(nn.Module):
    def __init__(self, K, N):
        super().__init__()
        self.linear = nn.Linear(K, N)  # only holds parameters

    def forward(self, x):
        y = torch.mm(x, self.linear.weight.t())
        n = y.numel()
        lib.bias_relu[(n + 255) // 256, 256](y, self.linear.bias, n, y.shape[1])
        return y
