import torch
from torch import nn

options = 1024
paths = 4096


class Model(nn.Module):
    """Mean payoff over paths. z: (options, paths); spot, strike, drift, sigma: (options, 1) -> (options,)."""

    def forward(self, z, spot, strike, drift, sigma):
        return torch.relu(spot * torch.exp(drift + sigma * z) - strike).mean(-1)


def get_inputs():
    spot = 50.0 + 100.0 * torch.rand(options, 1)
    strike = spot * (0.5 + torch.rand(options, 1))
    return [torch.randn(options, paths), spot, strike, 0.1 * torch.rand(options, 1), 0.1 + 0.3 * torch.rand(options, 1)]


def get_init_inputs():
    return []
