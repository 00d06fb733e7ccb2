import torch
from torch import nn

tokens = 1024
heads = 16
half = 32


class Model(nn.Module):
    """Each head normalised and rotated.

    x: (tokens, heads, 2 * half); cos, sin: (tokens, half); weight: (2 * half,) -> as x.
    """

    def forward(self, x, cos, sin, weight):
        normed = x * torch.rsqrt(x.square().mean(-1, keepdim=True) + 1e-6) * weight
        first, second = normed.chunk(2, dim=-1)
        c, s = cos[:, None, :], sin[:, None, :]
        return torch.cat((first * c - second * s, second * c + first * s), dim=-1)


def get_inputs():
    angle = 6.28 * torch.rand(tokens, half)
    return [2.0 * torch.randn(tokens, heads, 2 * half), angle.cos(), angle.sin(), torch.rand(2 * half) + 0.5]


def get_init_inputs():
    return []
