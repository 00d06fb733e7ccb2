"""A task is a file like this: a model, its inputs, and its constructor's arguments.

    kernelwright optimize examples/gated_residual.py
"""

import torch
from torch import nn

ROWS = 512
FEATURES = 1024


class Model(nn.Module):
    """A residual connection with a gated branch. Three (rows, features) -> (rows, features)."""

    def __init__(self, features):
        super().__init__()
        self.bias = nn.Parameter(torch.randn(features))

    def forward(self, x, gate, residual):
        return residual + x * torch.sigmoid(gate + self.bias)


def get_inputs():
    return [torch.randn(ROWS, FEATURES) for _ in range(3)]


def get_init_inputs():
    return [FEATURES]
