import torch
from torch import nn

batch = 2
channels = 32
filters = 16
height = 32
width = 32


class Model(nn.Module):
    """Transposed convolution. (batch, channels, height, width) -> (batch, filters, 2 * height, 2 * width)."""

    def __init__(self, channels, filters):
        super().__init__()
        self.conv = nn.ConvTranspose2d(channels, filters, 4, stride=2, padding=1)

    def forward(self, x):
        return self.conv(x)


def get_inputs():
    return [torch.randn(batch, channels, height, width)]


def get_init_inputs():
    return [channels, filters]
