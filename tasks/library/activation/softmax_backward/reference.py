import torch
from torch import nn

rows = 1024
cols = 4096


class Model(nn.Module):
    """Gradient of softmax. grad, y (the softmax): (rows, cols) -> (rows, cols)."""

    def forward(self, grad, y):
        return torch.ops.aten._softmax_backward_data(grad, y, -1, y.dtype)


def get_inputs():
    return [torch.randn(rows, cols), torch.softmax(2.0 * torch.randn(rows, cols), dim=-1)]


def get_init_inputs():
    return []
