import torch
from torch import nn

rows = 64
cols = 1000


class Model(nn.Module):
    """total = 0.9 * total + x in place; half of it is returned. (rows, cols) twice -> (rows, cols)."""

    def forward(self, total, x):
        total.mul_(0.9).add_(x)
        return total * 0.5


def get_inputs():
    return [torch.randn(rows, cols), torch.randn(rows, cols)]


def get_init_inputs():
    return []
