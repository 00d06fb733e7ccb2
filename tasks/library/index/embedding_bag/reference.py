import torch
import torch.nn.functional as F
from torch import nn

vocabulary = 50000
width = 64
bags = 4096
size = 16


class Model(nn.Module):
    """Sum of the rows of each bag. ids: (bags, size) int64; table: (vocabulary, width) -> (bags, width)."""

    def forward(self, ids, table):
        return F.embedding_bag(ids, table, mode="sum")


def get_inputs():
    return [torch.randint(0, vocabulary, (bags, size)), torch.randn(vocabulary, width)]


def get_init_inputs():
    return []
