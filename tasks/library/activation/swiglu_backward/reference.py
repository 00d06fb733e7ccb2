import torch
import torch.nn.functional as F
from torch import nn

rows = 1024
cols = 4096


class Model(nn.Module):
    """Gradients of silu(gate) * up. grad, gate, up: (rows, cols) -> (of gate, of up), each (rows, cols)."""

    def forward(self, grad, gate, up):
        return torch.ops.aten.silu_backward(grad * up, gate), grad * F.silu(gate)


def get_inputs():
    return [torch.randn(rows, cols), torch.randn(rows, cols), torch.randn(rows, cols)]


def get_init_inputs():
    return []
