import torch
from torch import nn

rows = 512
inner = 512
outer = 512


class Model(nn.Module):
    """Gradients of x @ weight^T + bias.

    grad: (rows, outer); x: (rows, inner); weight: (outer, inner) -> (rows, inner), (outer, inner), (outer,).
    """

    def forward(self, grad, x, weight):
        return grad @ weight, grad.t() @ x, grad.sum(0)


def get_inputs():
    return [torch.randn(rows, outer), torch.randn(rows, inner), torch.randn(outer, inner)]


def get_init_inputs():
    return []
