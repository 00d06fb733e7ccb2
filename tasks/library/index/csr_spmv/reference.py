import torch
from torch import nn

rows = 16384
cols = 16384
nonzeros = 524288


class Model(nn.Module):
    """Sparse matrix (compressed rows) times vector, rows of uneven length, some empty.

    offsets: (rows + 1,) int64; columns: (nonzeros,) int64; values: (nonzeros,); x: (cols,) -> (rows,).
    """

    def forward(self, offsets, columns, values, x):
        return torch.segment_reduce(values * x[columns], "sum", offsets=offsets, initial=0)


def get_inputs():
    # The number of nonzeros is fixed so that every draw has the same shapes; where rows end is random.
    cuts = torch.randint(0, nonzeros + 1, (rows - 1,)).sort().values
    ends = torch.tensor([0, nonzeros])
    offsets = torch.cat((ends[:1], cuts, ends[1:]))
    return [offsets, torch.randint(0, cols, (nonzeros,)), torch.randn(nonzeros), torch.randn(cols)]


def get_init_inputs():
    return []
