import torch
from torch import nn

rows = 512
cols = 1024


class Model(nn.Module):
    def forward(self, x):
        padded = nn.functional.pad(x, (1, 1))
        return (padded[:, :-2] + padded[:, 1:-1] + padded[:, 2:]) / 3.0


def get_inputs():
    return [torch.randn(rows, cols)]


def get_init_inputs():
    return []
