import torch
from torch import nn

rows = 16384
cols = 16384
nonzeros = 524288


class Model(nn.Module):
    """Sparse matrix (coordinates in any order, some twice) times vector.

    at_rows, at_columns: (nonzeros,) int64; values: (nonzeros,); x: (cols,); y: (rows,) -> y + A x.
    """

    def forward(self, at_rows, at_columns, values, x, y):
        return y.index_add(0, at_rows, values * x[at_columns])


def get_inputs():
    places = [torch.randint(0, rows, (nonzeros,)), torch.randint(0, cols, (nonzeros,))]
    return [*places, torch.randn(nonzeros), torch.randn(cols), torch.randn(rows)]


def get_init_inputs():
    return []
