import torch
from torch import nn

batch = 4
channels = 32
filters = 32
height = 56
width = 56


class Model(nn.Module):
    """1x1 convolution with bias. (batch, channels, height, width) -> (batch, filters, height, width)."""

    def __init__(self, channels, filters):
        super().__init__()
        self.conv = nn.Conv2d(channels, filters, 1)

    def forward(self, x):
        return self.conv(x)


def get_inputs():
    return [torch.randn(batch, channels, height, width)]


def get_init_inputs():
    return [channels, filters]
