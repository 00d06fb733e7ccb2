import torch
from torch import nn

batch = 8
inputs = 32
outputs = 64
height = 28
width = 28


class Model(nn.Module):
    """Convolution 3 x 3, padding 1, no bias. (batch, inputs, height, width) -> (batch, outputs, height, width)."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.conv = nn.Conv2d(inputs, outputs, kernel_size=3, padding=1, bias=False)

    def forward(self, x):
        return self.conv(x)


def get_inputs():
    return [torch.randn(batch, inputs, height, width)]


def get_init_inputs():
    return [inputs, outputs]
