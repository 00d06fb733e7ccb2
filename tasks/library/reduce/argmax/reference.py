import torch
from torch import nn

rows = 1024
cols = 4096


class Model(nn.Module):
    """Position of the largest element of each row. (rows, cols) -> (rows,) int64."""

    def forward(self, x):
        return x.argmax(-1)


def get_inputs():
    return [torch.randn(rows, cols)]


def get_init_inputs():
    return []
