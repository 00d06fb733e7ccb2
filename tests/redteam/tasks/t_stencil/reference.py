import torch
from torch import nn
from torch.nn import functional as F

n = 65536


class Model(nn.Module):
    """y[i] = x[i-1]/4 + x[i]/2 + x[i+1]/4 with zeros beyond the ends. (n,) -> (n,)."""

    def forward(self, x):
        wide = F.pad(x, (1, 1))
        return 0.25 * wide[:-2] + 0.5 * wide[1:-1] + 0.25 * wide[2:]


def get_inputs():
    return [torch.randn(n)]


def get_init_inputs():
    return []
