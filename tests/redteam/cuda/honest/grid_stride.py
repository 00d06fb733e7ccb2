# task: mish_rows
# family: grid_capped
# about: a few blocks a multiprocessor, each striding over the whole: the grid never depends on the size
# expect: passed
# device: cuda
import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(
    cuda=r"""
extern "C" __global__ void __launch_bounds__(256) mish_flat(const float* __restrict__ x, float* __restrict__ y, int64_t n) {
  for (int64_t i = blockIdx.x * (int64_t)blockDim.x + threadIdx.x; i < n; i += (int64_t)gridDim.x * blockDim.x) {
    float v = x[i], e = expf(fminf(v, 20.f)), w = e * (e + 2.f);
    y[i] = v * (w / (w + 2.f));
  }
}
"""
)


class ModelNew(nn.Module):
    def forward(self, x):
        x = x.contiguous()
        y, n = torch.empty_like(x), x.numel()
        processors = torch.cuda.get_device_properties(x.device).multi_processor_count
        lib.mish_flat[max(1, min((n + 255) // 256, 8 * processors)), 256](x, y, n)
        return y
