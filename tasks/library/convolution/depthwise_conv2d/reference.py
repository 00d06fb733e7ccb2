import torch
from torch import nn

batch = 8
channels = 64
height = 56
width = 56


class Model(nn.Module):
    """Depthwise convolution 3 x 3, padding 1, with bias. (batch, channels, height, width) -> the same shape."""

    def __init__(self, channels):
        super().__init__()
        self.conv = nn.Conv2d(channels, channels, kernel_size=3, padding=1, groups=channels)

    def forward(self, x):
        return self.conv(x)


def get_inputs():
    return [torch.randn(batch, channels, height, width)]


def get_init_inputs():
    return [channels]
