import torch
import torch.nn.functional as F
from torch import nn

batch = 1
heads = 8
length = 512
width = 64


class Model(nn.Module):
    """Causal attention. q, k, v: (batch, heads, length, width) -> the same."""

    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, is_causal=True)


def get_inputs():
    shape = (batch, heads, length, width)
    return [torch.randn(shape), torch.randn(shape), torch.randn(shape)]


def get_init_inputs():
    return []
