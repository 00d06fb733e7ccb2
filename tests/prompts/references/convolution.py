import torch
import torch.nn as nn

BATCH, CHANNELS_IN, CHANNELS_OUT, HEIGHT, WIDTH = 2, 5, 13, 17, 41
KERNEL, STRIDE, PADDING = 3, 2, 1


class Model(nn.Module):
    def __init__(self, channels_in: int, channels_out: int, kernel_size: int, stride: int, padding: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels_in, channels_out, kernel_size, stride=stride, padding=padding)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.conv(x)


def get_inputs() -> list[torch.Tensor]:
    return [torch.randn(BATCH, CHANNELS_IN, HEIGHT, WIDTH)]


def get_init_inputs() -> list[object]:
    return [CHANNELS_IN, CHANNELS_OUT, KERNEL, STRIDE, PADDING]
