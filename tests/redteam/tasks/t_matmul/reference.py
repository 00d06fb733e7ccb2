import torch
from torch import nn

M = 64
K = 128
N = 64


class Model(nn.Module):
    """Matrix product. (M, K) x (K, N) -> (M, N)."""

    def forward(self, a, b):
        return a @ b


def get_inputs():
    return [torch.randn(M, K), torch.randn(K, N)]


def get_init_inputs():
    return []
