import torch
from torch import nn

rows = 65536
cols = 65536
width = 16


class Model(nn.Module):
    """Sparse matrix times vector. columns: (rows, width) int64; values: (rows, width); x: (cols,) -> (rows,)."""

    def forward(self, columns, values, x):
        return (values * x[columns]).sum(-1)


def get_inputs():
    return [torch.randint(0, cols, (rows, width)), torch.randn(rows, width), torch.randn(cols)]


def get_init_inputs():
    return []
