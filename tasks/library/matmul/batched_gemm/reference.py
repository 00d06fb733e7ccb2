import torch
from torch import nn

batch = 8
m = 256
n = 256
k = 256


class Model(nn.Module):
    """Batched product. a: (batch, m, k); b: (batch, k, n) -> (batch, m, n)."""

    def forward(self, a, b):
        return torch.bmm(a, b)


def get_inputs():
    return [torch.randn(batch, m, k), torch.randn(batch, k, n)]


def get_init_inputs():
    return []
