import torch
import torch.nn.functional as F
from torch import nn

tokens = 101
hidden = 67
inner = 141


class Model(nn.Module):
    """The feed-forward half of a transformer layer: RMS norm, SwiGLU, residual. (tokens, hidden) -> the same shape."""

    def __init__(self, hidden, inner):
        super().__init__()
        self.weight = nn.Parameter(1.0 + 0.5 * torch.randn(hidden))
        self.gate = nn.Linear(hidden, inner, bias=False)
        self.up = nn.Linear(hidden, inner, bias=False)
        self.down = nn.Linear(inner, hidden, bias=False)

    def forward(self, x):
        normal = x * torch.rsqrt(x.pow(2).mean(dim=-1, keepdim=True) + 1e-6) * self.weight
        return x + self.down(F.silu(self.gate(normal)) * self.up(normal))


def get_inputs():
    return [torch.randn(tokens, hidden) * (0.1 + torch.rand(tokens, 1))]


def get_init_inputs():
    return [hidden, inner]
