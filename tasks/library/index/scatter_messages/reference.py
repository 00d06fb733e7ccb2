import torch
from torch import nn

nodes = 4096
edges = 32768
features = 64


class Model(nn.Module):
    """Message passing on a graph, a sparse matrix (coordinates) times a dense one.

    x: (nodes, features); source, target: (edges,) int64; weight: (edges,) -> (nodes, features): every node gets the
    weighted sum of the rows at the other end of its incoming edges.
    """

    def forward(self, x, source, target, weight):
        messages = x[source] * weight[:, None]
        return torch.zeros_like(x).index_add(0, target, messages)


def get_inputs():
    source, target = torch.randint(0, nodes, (edges,)), torch.randint(0, nodes, (edges,))
    return [torch.randn(nodes, features), source, target, torch.randn(edges)]


def get_init_inputs():
    return []
