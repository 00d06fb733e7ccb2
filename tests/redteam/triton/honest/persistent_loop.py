# task: t_gelu_add
# family: grid_capped
# about: as many programs as multiprocessors, each looping over its share of the tiles
# expect: passed
# device: any
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def gelu_add(x_ptr, r_ptr, y_ptr, n, tiles, BLOCK: tl.constexpr):
    for tile in range(tl.program_id(0), tiles, tl.num_programs(0)):
        i = tile * BLOCK + tl.arange(0, BLOCK)
        x = tl.load(x_ptr + i, mask=i < n)
        y = 0.5 * x * (1.0 + tl.erf(x * 0.7071067811865476)) + tl.load(r_ptr + i, mask=i < n)
        tl.store(y_ptr + i, y, mask=i < n)


def processors(device):
    if device.type != "cuda":
        return 8
    return torch.cuda.get_device_properties(device).multi_processor_count


class ModelNew(nn.Module):
    def forward(self, x, residual):
        x, residual = x.contiguous(), residual.contiguous()
        y = torch.empty_like(x)
        tiles = triton.cdiv(x.numel(), 2048)
        programs = min(tiles, 4 * processors(x.device))
        gelu_add[(programs,)](x, residual, y, x.numel(), tiles, BLOCK=2048, num_warps=8)
        return y
