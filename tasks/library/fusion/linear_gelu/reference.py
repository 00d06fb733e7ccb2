import torch
import torch.nn.functional as F
from torch import nn

tokens = 256
inputs = 512
outputs = 1024


class Model(nn.Module):
    """A linear layer and GELU. (tokens, inputs) -> (tokens, outputs)."""

    def __init__(self, inputs, outputs):
        super().__init__()
        self.linear = nn.Linear(inputs, outputs)
        nn.init.normal_(self.linear.bias)

    def forward(self, x):
        return F.gelu(self.linear(x), approximate="tanh")


def get_inputs():
    return [torch.randn(tokens, inputs)]


def get_init_inputs():
    return [inputs, outputs]
