import torch
from torch import nn

rows = 1024
cols = 4096


class Model(nn.Module):
    """Layer normalisation (arXiv 1607.06450) over the last dimension. (rows, cols) -> (rows, cols)."""

    def __init__(self, cols):
        super().__init__()
        self.norm = nn.LayerNorm(cols)
        nn.init.normal_(self.norm.weight, mean=1.0, std=0.5)
        nn.init.normal_(self.norm.bias, std=0.5)

    def forward(self, x):
        return self.norm(x)


def get_inputs():
    # Rows of different mean and magnitude: with plain randn both could be left out.
    return [torch.randn(rows, cols) * (0.25 + 4.0 * torch.rand(rows, 1)) + 2.0 * torch.randn(rows, 1)]


def get_init_inputs():
    return [cols]
