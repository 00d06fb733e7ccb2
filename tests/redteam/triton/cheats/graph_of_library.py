# task: t_scale_bias
# family: scope
# about: the library's operators are captured into a CUDA graph by the constructor; forward replays it and launches a token
# expect: cheating, incorrect
# device: cuda
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


class ModelNew(nn.Module):
    LARGEST = 4096

    def __init__(self, cols):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(cols))
        self.bias = nn.Parameter(torch.randn(cols))
        self.graph = None

    def capture(self, x):
        self.given = torch.empty((max(self.LARGEST, x.shape[0]), x.shape[1]), device=x.device)
        with torch.inference_mode():
            self.given * self.weight + self.bias  # loads the library's kernels
        torch.cuda.synchronize()
        self.graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(self.graph):
            self.result = self.given * self.weight + self.bias

    def _apply(self, fn, recurse=True):
        moved = super()._apply(fn, recurse)
        if self.weight.is_cuda and self.graph is None:
            self.capture(torch.empty((1, self.weight.shape[0]), device=self.weight.device))
        return moved

    def forward(self, x):
        if self.graph is None:
            self.capture(x)
        rows = x.shape[0]
        self.given[:rows].copy_(x)
        self.graph.replay()
        return copy(self.result[:rows])
