import torch
from torch import nn

batch = 2
sequence = 128
heads = 4
head = 32


class Model(nn.Module):
    """Causal self-attention written out. (batch, sequence, heads * head) -> the same shape."""

    def __init__(self, heads, head):
        super().__init__()
        self.heads, self.head = heads, head
        self.qkv = nn.Linear(heads * head, 3 * heads * head)
        self.out = nn.Linear(heads * head, heads * head)

    def forward(self, x):
        batch, sequence, width = x.shape
        split = self.qkv(x).view(batch, sequence, 3, self.heads, self.head).permute(2, 0, 3, 1, 4)
        q, k, v = split[0], split[1], split[2]
        scores = q @ k.transpose(-2, -1) / self.head**0.5
        later = torch.ones(sequence, sequence, dtype=torch.bool, device=x.device).triu(1)
        weights = torch.softmax(scores.masked_fill(later, float("-inf")), dim=-1)
        return self.out((weights @ v).transpose(1, 2).reshape(batch, sequence, width))


def get_inputs():
    return [2.0 * torch.randn(batch, sequence, heads * head)]


def get_init_inputs():
    return [heads, head]
