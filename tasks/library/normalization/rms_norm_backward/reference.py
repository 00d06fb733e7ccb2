import torch
from torch import nn

rows = 1024
cols = 4096


class Model(nn.Module):
    """Gradients of RMS normalisation. grad, x: (rows, cols); weight: (cols,) -> (of x: (rows, cols), of weight: (cols,))."""

    def forward(self, grad, x, weight):
        scale = torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-5)
        normed, wide = x * scale, grad * weight
        return scale * (wide - normed * (wide * normed).mean(-1, keepdim=True)), (grad * normed).sum(0)


def get_inputs():
    return [torch.randn(rows, cols), 2.0 * torch.randn(rows, cols), torch.rand(cols) + 0.5]


def get_init_inputs():
    return []
