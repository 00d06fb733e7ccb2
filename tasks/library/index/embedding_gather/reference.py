import torch
import torch.nn.functional as F
from torch import nn

vocabulary = 16384
dimension = 512
tokens = 8192


class Model(nn.Module):
    """Embedding look-up. table: (vocabulary, dimension); ids: (tokens,) int64 -> (tokens, dimension)."""

    def forward(self, table, ids):
        return F.embedding(ids, table)


def get_inputs():
    return [torch.randn(vocabulary, dimension), torch.randint(0, vocabulary, (tokens,))]


def get_init_inputs():
    return []
