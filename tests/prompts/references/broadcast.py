import torch
from torch import nn

batch = 3
heads = 5
sequence = 37
half = 20


class Model(nn.Module):
    """Rotary position embedding (arXiv 2104.09864), rotate-half form.

    x: (batch, heads, sequence, 2 * half); cos, sin: (sequence, 2 * half), broadcast over batch and heads.
    """

    def forward(self, x, cos, sin):
        first, second = x.chunk(2, dim=-1)
        return x * cos + torch.cat((-second, first), dim=-1) * sin


def get_inputs():
    angles = 6.2831853 * torch.rand(sequence, half)
    angles = torch.cat((angles, angles), dim=-1)
    return [torch.randn(batch, heads, sequence, 2 * half), angles.cos(), angles.sin()]


def get_init_inputs():
    return []
