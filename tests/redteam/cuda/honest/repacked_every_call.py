# task: t_scale_bias
# family: weights_kept_in_global
# about: weight and bias are interleaved into a device global by a first kernel in every call
# expect: passed
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import OutsideEnvelope, load

lib = load(
    cuda=r"""
__device__ float2 packed[1 << 15];

extern "C" __global__ void pack(const float* w, const float* b, int64_t cols) {
  int64_t j = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (j < cols) packed[j] = make_float2(w[j], b[j]);
}

extern "C" __global__ void __launch_bounds__(256) affine(const float* x, float* y, int64_t n, int64_t cols) {
  int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x;
  if (i < n) {
    float2 wb = packed[i % cols];
    y[i] = x[i] * wb.x + wb.y;
  }
}
"""
)


class ModelNew(nn.Module):
    def __init__(self, cols):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(cols))
        self.bias = nn.Parameter(torch.randn(cols))

    def forward(self, x):
        x = x.contiguous()
        n, cols = x.numel(), x.shape[1]
        if cols > 1 << 15:
            raise OutsideEnvelope(f"rows of {cols} do not fit into the packed table")
        y = torch.empty_like(x)
        lib.pack[(cols + 255) // 256, 256](self.weight, self.bias, cols)
        lib.affine[(n + 255) // 256, 256](x, y, n, cols)
        return y
