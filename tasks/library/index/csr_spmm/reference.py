import torch
from torch import nn

rows = 4096
cols = 4096
nonzeros = 65536
width = 64


class Model(nn.Module):
    """Sparse matrix (compressed rows) times dense matrix, rows of uneven length, some empty.

    offsets: (rows + 1,) int64; columns: (nonzeros,) int64; values: (nonzeros,); x: (cols, width) -> (rows, width).
    """

    def forward(self, offsets, columns, values, x):
        return torch.segment_reduce(values[:, None] * x[columns], "sum", offsets=offsets, axis=0, initial=0)


def get_inputs():
    # The number of nonzeros is fixed so that every draw has the same shapes; where rows end is random.
    cuts = torch.randint(0, nonzeros + 1, (rows - 1,)).sort().values
    ends = torch.tensor([0, nonzeros])
    offsets = torch.cat((ends[:1], cuts, ends[1:]))
    return [offsets, torch.randint(0, cols, (nonzeros,)), torch.randn(nonzeros), torch.randn(cols, width)]


def get_init_inputs():
    return []
