import torch
from torch import nn
from torch.nn import functional as F

rows = 64
cols = 1000


class Model(nn.Module):
    """Layer normalisation without weights. (rows, cols) -> (rows, cols)."""

    def forward(self, x):
        return F.layer_norm(x, (x.shape[-1],))


def get_inputs():
    return [torch.randn(rows, cols) * 2.0 + torch.randn(rows, 1)]


def get_init_inputs():
    return []
