import torch
import torch.nn.functional as F
from torch import nn

tokens = 1024
hidden = 4096


class Model(nn.Module):
    """The gate of a SwiGLU feed-forward (arXiv 2002.05202): silu(gate) * up, each (tokens, hidden)."""

    def forward(self, gate, up):
        return F.silu(gate) * up


def get_inputs():
    return [2.0 * torch.randn(tokens, hidden), torch.randn(tokens, hidden)]


def get_init_inputs():
    return []
