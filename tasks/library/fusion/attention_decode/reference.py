import torch
import torch.nn.functional as F
from torch import nn

batch = 8
groups = 4
length = 1024
width = 64


class Model(nn.Module):
    """One token's attention over a cache.

    q: (batch, 8 * groups, 1, width); k, v: (batch, groups, length, width) -> as q.
    """

    def forward(self, q, k, v):
        return F.scaled_dot_product_attention(q, k, v, enable_gqa=True)


def get_inputs():
    cache = (batch, groups, length, width)
    return [torch.randn(batch, 8 * groups, 1, width), torch.randn(cache), torch.randn(cache)]


def get_init_inputs():
    return []
