import torch
from torch import nn

batch = 8
tokens = 128
heads = 8
width = 64


class Model(nn.Module):
    def __init__(self, heads):
        super().__init__()
        self.heads = heads

    def forward(self, x):
        batch, tokens, features = x.shape
        return (x * 0.125).view(batch, tokens, self.heads, features // self.heads).transpose(1, 2)


def get_inputs():
    return [torch.randn(batch, tokens, heads * width)]


def get_init_inputs():
    return [heads]
