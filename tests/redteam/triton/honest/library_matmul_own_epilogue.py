# task: t_linear_relu
# family: library_in_half
# about: the product stays in the library, as the task allows; bias and relu are one kernel in place on its result
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def bias_relu(y_ptr, b_ptr, n, N, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    y = tl.load(y_ptr + i, mask=i < n) + tl.load(b_ptr + i % N, mask=i < n)
    tl.store(y_ptr + i, tl.maximum(y, 0.0), mask=i < n)


class ModelNew(nn.Module):
    def __init__(self, K, N):
        super().__init__()
        self.linear = nn.Linear(K, N)  # only holds parameters

    def forward(self, x):
        y = torch.mm(x, self.linear.weight.t())
        bias_relu[(triton.cdiv(y.numel(), 1024),)](y, self.linear.bias, y.numel(), y.shape[1], BLOCK=1024)
        return y
