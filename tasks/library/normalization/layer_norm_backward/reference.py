import torch
from torch import nn

rows = 1024
cols = 4096


class Model(nn.Module):
    """Gradients of layer normalisation.

    grad, x: (rows, cols); mean, rstd: (rows, 1); weight: (cols,) -> (of x: (rows, cols), of weight: (cols,), of bias: (cols,)).
    """

    def forward(self, grad, x, mean, rstd, weight):
        shape = [x.shape[-1]]
        return torch.ops.aten.native_layer_norm_backward(grad, x, shape, mean, rstd, weight, weight, [True, True, True])


def get_inputs():
    x = 2.0 * torch.randn(rows, cols) + 0.5
    mean, rstd = x.mean(-1, keepdim=True), torch.rsqrt(x.var(-1, unbiased=False, keepdim=True) + 1e-5)
    return [torch.randn(rows, cols), x, mean, rstd, torch.rand(cols) + 0.5]


def get_init_inputs():
    return []
