import torch
from torch import nn

batch = 1
channels = 8
filters = 8
depth = 16
height = 32
width = 32


class Model(nn.Module):
    """3x3x3 convolution with bias. (batch, channels, depth, height, width) -> (batch, filters, ...)."""

    def __init__(self, channels, filters):
        super().__init__()
        self.conv = nn.Conv3d(channels, filters, 3, padding=1)

    def forward(self, x):
        return self.conv(x)


def get_inputs():
    return [torch.randn(batch, channels, depth, height, width)]


def get_init_inputs():
    return [channels, filters]
