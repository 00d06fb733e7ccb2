import torch
from torch import nn

heads = 16
queries = 256
keys = 1024


class Model(nn.Module):
    """Scores plus a bias that falls with distance. scores: (heads, queries, keys); slopes: (heads,) -> as scores."""

    def forward(self, scores, slopes):
        key = torch.arange(scores.shape[2], device=scores.device)
        distance = key - torch.arange(scores.shape[1], device=scores.device)[:, None]
        return scores + slopes[:, None, None] * distance.to(scores.dtype)


def get_inputs():
    return [torch.randn(heads, queries, keys), 0.05 * torch.rand(heads)]


def get_init_inputs():
    return []
