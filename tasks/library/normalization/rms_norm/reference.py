import torch
from torch import nn

rows = 1024
cols = 4096


class Model(nn.Module):
    """RMS normalisation (arXiv 1910.07467) composed of elementary operators. (rows, cols) -> (rows, cols)."""

    def __init__(self, cols):
        super().__init__()
        self.weight = nn.Parameter(1.0 + 0.5 * torch.randn(cols))

    def forward(self, x):
        scale = torch.rsqrt(x.pow(2).mean(dim=-1, keepdim=True) + 1e-6)
        return x * scale * self.weight


def get_inputs():
    # Rows of different magnitude: with plain randn the norm is 1 within a percent and could be left out.
    return [torch.randn(rows, cols) * (0.25 + 4.0 * torch.rand(rows, 1))]


def get_init_inputs():
    return [cols]
