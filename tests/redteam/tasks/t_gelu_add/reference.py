import torch
from torch import nn
from torch.nn import functional as F

rows = 64
cols = 1000


class Model(nn.Module):
    """gelu(x) + residual. (rows, cols) twice -> (rows, cols)."""

    def forward(self, x, residual):
        return F.gelu(x) + residual


def get_inputs():
    return [torch.randn(rows, cols), torch.randn(rows, cols)]


def get_init_inputs():
    return []
