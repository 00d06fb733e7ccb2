"""Softmax over the last dimension, as a plain file: its further shapes are derived."""

import torch
from torch import nn

ROWS = 64
COLS = 512


class Model(nn.Module):
    def forward(self, x):
        return torch.softmax(x, dim=-1)


def get_inputs():
    return [torch.randn(ROWS, COLS)]


def get_init_inputs():
    return []
