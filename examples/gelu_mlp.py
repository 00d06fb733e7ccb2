"""An MLP with GELU by its tanh formula, written out: `kernelwright tune examples/gelu_mlp.py:build --model playbook`."""

import torch
from torch import nn


class MLP(nn.Module):
    def __init__(self):
        super().__init__()
        self.up, self.down = nn.Linear(64, 4096), nn.Linear(4096, 64)

    def forward(self, x):
        h = self.up(x)
        return self.down(0.5 * h * (1 + torch.tanh(0.7978845608 * (h + 0.044715 * h * h * h))))


def build():
    torch.manual_seed(0)
    return MLP()


def inputs():
    return (torch.randn(512, 64),)
