import torch
from torch import nn

M = 64
K = 128
N = 64


class Model(nn.Module):
    """relu(x @ weight.T + bias). (M, K) -> (M, N)."""

    def __init__(self, K, N):
        super().__init__()
        self.linear = nn.Linear(K, N)

    def forward(self, x):
        return torch.relu(self.linear(x))


def get_inputs():
    return [torch.randn(M, K)]


def get_init_inputs():
    return [K, N]
