"""A plain file in KernelBench's convention: its further shapes are derived."""

import torch
from torch import nn

ROWS = 256
COLS = 768


class Model(nn.Module):
    """x * tanh(softplus(x)), elementwise."""

    def forward(self, x):
        return x * torch.tanh(nn.functional.softplus(x))


def get_inputs():
    return [torch.randn(ROWS, COLS)]


def get_init_inputs():
    return []
