import torch
from torch import nn

elements = 20011


class Model(nn.Module):
    """One AdamW step (arXiv 1711.05101) on a flat parameter, as a function.

    parameter, gradient, first and second moment: (elements,) -> the new parameter and both new moments. The rate is
    high and the step early, so that no output is close to its input.
    """

    def __init__(self):
        super().__init__()
        self.rate, self.beta1, self.beta2, self.eps, self.decay, self.step = 0.05, 0.9, 0.95, 1e-8, 0.1, 10

    def forward(self, parameter, gradient, first, second):
        first = self.beta1 * first + (1.0 - self.beta1) * gradient
        second = self.beta2 * second + (1.0 - self.beta2) * gradient * gradient
        ahead = first / (1.0 - self.beta1**self.step)
        spread = torch.sqrt(second / (1.0 - self.beta2**self.step)) + self.eps
        return parameter * (1.0 - self.rate * self.decay) - self.rate * ahead / spread, first, second


def get_inputs():
    return [torch.randn(elements), torch.randn(elements), torch.randn(elements), 0.01 + torch.rand(elements)]


def get_init_inputs():
    return []
