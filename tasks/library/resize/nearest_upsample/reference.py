import torch
import torch.nn.functional as F
from torch import nn

batch = 8
channels = 64
height = 56
width = 56


class Model(nn.Module):
    """Twofold nearest-neighbour enlargement. (batch, channels, height, width) -> (batch, channels, 2 * height, 2 * width)."""

    def forward(self, x):
        return F.interpolate(x, scale_factor=2, mode="nearest")


def get_inputs():
    return [torch.randn(batch, channels, height, width)]


def get_init_inputs():
    return []
