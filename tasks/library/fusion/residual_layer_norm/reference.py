import torch
from torch import nn

rows = 1024
cols = 4096


class Model(nn.Module):
    """The sum and its layer normalisation. x, residual: (rows, cols) -> two of (rows, cols)."""

    def __init__(self, cols):
        super().__init__()
        self.norm = nn.LayerNorm(cols)
        nn.init.uniform_(self.norm.weight, 0.5, 1.5)
        nn.init.normal_(self.norm.bias)

    def forward(self, x, residual):
        total = x + residual
        return total, self.norm(total)


def get_inputs():
    return [torch.randn(rows, cols), torch.randn(rows, cols)]


def get_init_inputs():
    return [cols]
