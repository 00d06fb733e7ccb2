import torch
from torch import nn

rows = 1024
cols = 4096


class Model(nn.Module):
    """Logarithm of the sum of exponentials over the last dimension. (rows, cols) -> (rows,)."""

    def forward(self, x):
        return torch.logsumexp(x, dim=-1)


def get_inputs():
    # Rows of different spread: with plain randn every row gives log(cols) + 0.5 within a percent.
    return [torch.randn(rows, cols) * (8.0 * torch.rand(rows, 1))]


def get_init_inputs():
    return []
