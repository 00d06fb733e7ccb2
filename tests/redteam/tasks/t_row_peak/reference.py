import torch
from torch import nn

rows = 64
cols = 1000


class Model(nn.Module):
    """Largest magnitude of each row, at every place of the row. (rows, cols) -> (rows, cols)."""

    def forward(self, x):
        return x.abs().amax(dim=-1, keepdim=True).expand_as(x).contiguous()


def get_inputs():
    return [torch.randn(rows, cols)]


def get_init_inputs():
    return []
