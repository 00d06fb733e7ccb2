import torch
import torch.nn as nn

ROWS, FEATURES_IN, FEATURES_OUT = 101, 397, 133


class Model(nn.Module):
    def __init__(self, features_in: int, features_out: int) -> None:
        super().__init__()
        self.linear = nn.Linear(features_in, features_out)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(x)


def get_inputs() -> list[torch.Tensor]:
    return [torch.randn(ROWS, FEATURES_IN)]


def get_init_inputs() -> list[object]:
    return [FEATURES_IN, FEATURES_OUT]
