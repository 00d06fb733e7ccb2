import torch
import torch.nn as nn

BATCH, CHANNELS, HEIGHT, WIDTH = 2, 5, 31, 45
KERNEL, STRIDE, PADDING = 3, 2, 1


class Model(nn.Module):
    def __init__(self, kernel_size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.pool = nn.MaxPool2d(kernel_size, stride=stride, padding=padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.pool(x)


def get_inputs() -> list[torch.Tensor]:
    return [torch.randn(BATCH, CHANNELS, HEIGHT, WIDTH)]


def get_init_inputs() -> list[object]:
    return [KERNEL, STRIDE, PADDING]
