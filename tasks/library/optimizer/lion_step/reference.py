import torch
from torch import nn

count = 4194304


class Model(nn.Module):
    """One step. p, g, m: (count,) -> (new p, new m)."""

    def forward(self, p, g, m):
        update = torch.sign(0.9 * m + 0.1 * g) + 0.01 * p
        return p - 0.1 * update, 0.95 * m + 0.05 * g


def get_inputs():
    return [torch.randn(count), torch.randn(count), torch.randn(count)]


def get_init_inputs():
    return []
