import torch
from torch import nn

batch = 8
channels = 64
height = 56
width = 56


class Model(nn.Module):
    """Group normalisation in groups of 8 channels. (batch, channels, height, width) -> the same."""

    def __init__(self, channels):
        super().__init__()
        self.norm = nn.GroupNorm(channels // 8, channels)
        nn.init.uniform_(self.norm.weight, 0.5, 1.5)
        nn.init.normal_(self.norm.bias)

    def forward(self, x):
        return self.norm(x)


def get_inputs():
    return [torch.randn(batch, channels, height, width) * 2.0 + 0.5]


def get_init_inputs():
    return [channels]
