import torch
from torch import nn

batch = 4
side = 14
width = 384


class Model(nn.Module):
    """A vision transformer's input.

    x: (batch, 3, 16 * side, 16 * side) -> (batch, side * side + 1, width).
    """

    def __init__(self, side, width):
        super().__init__()
        self.project = nn.Conv2d(3, width, 16, stride=16, bias=False)
        self.first = nn.Parameter(torch.randn(1, 1, width))
        self.position = nn.Parameter(torch.randn(1, side * side + 1, width))

    def forward(self, x):
        tokens = self.project(x).flatten(2).transpose(1, 2)
        return torch.cat((self.first.expand(x.shape[0], -1, -1), tokens), dim=1) + self.position


def get_inputs():
    return [torch.randn(batch, 3, 16 * side, 16 * side)]


def get_init_inputs():
    return [side, width]
