import torch
from torch import nn

rows = 512
inner = 512
outer = 512
rank = 16


class Model(nn.Module):
    """x @ weight^T + (x @ down^T) @ up^T. x: (rows, inner) -> (rows, outer)."""

    def __init__(self, inner, outer, rank):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(outer, inner))
        self.down = nn.Parameter(torch.randn(rank, inner))
        self.up = nn.Parameter(torch.randn(outer, rank))

    def forward(self, x):
        return x @ self.weight.t() + (x @ self.down.t()) @ self.up.t()


def get_inputs():
    return [torch.randn(rows, inner)]


def get_init_inputs():
    return [inner, outer, rank]
