# task: t_scale_bias
# family: scope
# about: the library's operators are captured into a CUDA graph by the constructor; forward replays it and launches a copy
# expect: cheating, incorrect
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void copy_flat(const float* from, float* to, int64_t n) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i < n) to[i] = from[i];
}
"""
)


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
        self.given[: x.shape[0]].copy_(x)
        self.graph.replay()
        y, n = torch.empty_like(x), x.numel()
        lib.copy_flat[(n + 255) // 256, 256](self.result, y, n)
        return y
