import torch
import torch.nn as nn

BATCH, PICKS, ENTRIES, FEATURES = 41, 7, 301, 130


class Model(nn.Module):
    def __init__(self, entries: int, features: int) -> None:
        super().__init__()
        self.table = nn.Parameter(torch.randn(entries, features))

    def forward(self, idx: torch.Tensor, w: torch.Tensor) -> torch.Tensor:
        return (self.table[idx] * w.unsqueeze(-1)).sum(1)


def get_inputs() -> list[torch.Tensor]:
    return [torch.randint(0, ENTRIES, (BATCH, PICKS)), torch.rand(BATCH, PICKS)]


def get_init_inputs() -> list[object]:
    return [ENTRIES, FEATURES]
