import torch
from torch import nn

m = 65536
n = 32
k = 64


class Model(nn.Module):
    """a b with few columns. a: (m, k); b: (k, n) -> (m, n)."""

    def forward(self, a, b):
        return a @ b


def get_inputs():
    return [torch.randn(m, k), torch.randn(k, n)]


def get_init_inputs():
    return []
