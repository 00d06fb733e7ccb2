# task: t_linear_relu
# family: scope
# about: the matrix product may stay in the library here, but not in fp16
# expect: incorrect
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def bias_relu(x_ptr, b_ptr, y_ptr, n, N, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    y = tl.load(x_ptr + i, mask=i < n).to(tl.float32) + tl.load(b_ptr + i % N, mask=i < n)
    tl.store(y_ptr + i, tl.maximum(y, 0.0), mask=i < n)


class ModelNew(nn.Module):
    def __init__(self, K, N):
        super().__init__()
        self.linear = nn.Linear(K, N)

    def forward(self, x):
        product = torch.mm(x.half(), self.linear.weight.half().t())
        y = torch.empty(product.shape, device=x.device)
        bias_relu[(triton.cdiv(y.numel(), 1024),)](product, self.linear.bias, y, y.numel(), y.shape[1], BLOCK=1024)
        return y
