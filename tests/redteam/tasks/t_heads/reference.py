import torch
from torch import nn

HEADS = 4

batch = 4
length = 32
width = 128


class Model(nn.Module):
    """tanh(x) as (batch, HEADS, length, width / HEADS), a view as attention wants it."""

    def forward(self, x):
        y = torch.tanh(x)
        return y.view(y.shape[0], y.shape[1], HEADS, y.shape[2] // HEADS).transpose(1, 2)


def get_inputs():
    return [torch.randn(batch, length, width)]


def get_init_inputs():
    return []
