import torch
from torch import nn

rows = 1024
cols = 4096


class Model(nn.Module):
    """Gradient of GELU (tanh form). grad, x: (rows, cols) -> (rows, cols)."""

    def forward(self, grad, x):
        return torch.ops.aten.gelu_backward(grad, x, approximate="tanh")


def get_inputs():
    return [torch.randn(rows, cols), torch.randn(rows, cols)]


def get_init_inputs():
    return []
