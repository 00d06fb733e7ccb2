import torch
from torch import nn

rows = 4096
cols = 256


class Model(nn.Module):
    """The eight largest of each row, as a router of experts needs. (rows, cols) -> (rows, 8)."""

    def forward(self, x):
        return torch.topk(x, 8, dim=-1).values


def get_inputs():
    return [torch.randn(rows, cols)]


def get_init_inputs():
    return []
