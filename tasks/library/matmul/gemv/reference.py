import torch
from torch import nn

M = 2048
K = 4096


class Model(nn.Module):
    """Matrix-vector product. (M, K) x (K,) -> (M,)."""

    def forward(self, a, x):
        return torch.mv(a, x)


def get_inputs():
    return [torch.randn(M, K), torch.randn(K)]


def get_init_inputs():
    return []
