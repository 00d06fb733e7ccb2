import torch
from torch import nn

rows = 16
inner = 2048
outer = 2048


class Model(nn.Module):
    """x @ (weight * scale)^T. x: (rows, inner); weight: (outer, inner) int8; scale: (outer, 1) -> (rows, outer)."""

    def forward(self, x, weight, scale):
        return x @ (weight.to(x.dtype) * scale).t()


def get_inputs():
    weight = torch.randint(-127, 128, (outer, inner), dtype=torch.int8)
    return [torch.randn(rows, inner), weight, 0.01 * torch.rand(outer, 1) + 0.001]


def get_init_inputs():
    return []
