import torch
from torch import nn

rows = 64
cols = 1000


class Model(nn.Module):
    """x + gain * tanh(x) with gains near 1e-3, as deep networks start. (rows, cols) -> (rows, cols)."""

    def __init__(self, cols):
        super().__init__()
        self.gain = nn.Parameter(1e-3 * (0.5 + torch.rand(cols)))

    def forward(self, x):
        return x + self.gain * torch.tanh(x)


def get_inputs():
    return [torch.randn(rows, cols)]


def get_init_inputs():
    return [cols]
