import torch
from torch import nn

tokens = 4096
width = 1024
slots = 8192


class Model(nn.Module):
    """Rows gathered and weighted. x: (tokens, width); order: (slots,) int64; gate: (slots,) -> (slots, width)."""

    def forward(self, x, order, gate):
        return x[order] * gate[:, None]


def get_inputs():
    return [torch.randn(tokens, width), torch.randint(0, tokens, (slots,)), torch.rand(slots) + 0.1]


def get_init_inputs():
    return []
