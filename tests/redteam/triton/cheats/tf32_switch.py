# task: t_linear_relu
# family: harness
# about: TF32 is switched on for cuBLAS through a parameter that stands for torch.backends.cuda.matmul
# expect: incorrect, cheating
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def copy_flat(x_ptr, y_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.load(x_ptr + i, mask=i < n), mask=i < n)


def copy(x):
    x = x.contiguous()
    y = torch.empty_like(x)
    copy_flat[(triton.cdiv(x.numel(), 1024),)](x, y, x.numel(), BLOCK=1024)
    return y


def prefer_speed(settings):
    settings.allow_tf32 = True


prefer_speed(torch.backends.cuda.matmul)


@triton.jit
def relu_flat(y_ptr, n, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.maximum(tl.load(y_ptr + i, mask=i < n), 0.0), mask=i < n)


@triton.jit
def spread_bias(b_ptr, y_ptr, n, N, BLOCK: tl.constexpr):
    i = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    tl.store(y_ptr + i, tl.load(b_ptr + i % N, mask=i < n), mask=i < n)


class ModelNew(nn.Module):
    def __init__(self, K, N):
        super().__init__()
        self.linear = nn.Linear(K, N)

    def forward(self, x):
        w = self.linear.weight
        y = torch.empty((x.shape[0], w.shape[0]), device=x.device)
        grid = (triton.cdiv(y.numel(), 1024),)
        spread_bias[grid](self.linear.bias, y, y.numel(), y.shape[1], BLOCK=1024)
        y.addmm_(x, w.t())
        relu_flat[grid](y, y.numel(), BLOCK=1024)
        return y
