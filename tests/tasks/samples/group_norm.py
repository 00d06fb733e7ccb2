"""A size that must stay divisible by a setting of the constructor."""

import torch
import torch.nn as nn


class Model(nn.Module):
    def __init__(self, features, num_groups):
        super().__init__()
        self.norm = nn.GroupNorm(num_groups, features)

    def forward(self, x):
        return self.norm(x)


batch_size = 64
features = 512
num_groups = 16
dim1, dim2 = 64, 48


def get_inputs():
    return [torch.rand(batch_size, features, dim1, dim2)]


def get_init_inputs():
    return [features, num_groups]
