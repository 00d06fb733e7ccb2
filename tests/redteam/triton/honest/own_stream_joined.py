# task: t_row_softmax
# family: side_stream_unjoined
# about: a stream of its own waits for the caller's and is joined before forward returns
# expect: passed
# device: cuda
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def softmax_rows(x_ptr, y_ptr, cols, BLOCK: tl.constexpr):
    row = tl.program_id(0).to(tl.int64)
    col = tl.arange(0, BLOCK)
    inside = col < cols
    x = tl.load(x_ptr + row * cols + col, mask=inside, other=-float("inf"))
    e = tl.exp(x - tl.max(x, 0))
    tl.store(y_ptr + row * cols + col, e / tl.sum(e, 0), mask=inside)


def softmax(x, y, rows):
    cols = x.shape[1]
    block = triton.next_power_of_2(cols)
    softmax_rows[(rows,)](x, y, cols, BLOCK=block, num_warps=min(16, max(4, block // 512)))
    return y


class ModelNew(nn.Module):
    def __init__(self):
        super().__init__()
        self.side = None

    def forward(self, x):
        self.side = self.side or torch.cuda.Stream()
        current = torch.cuda.current_stream()
        x = x.contiguous()
        y = torch.empty_like(x)
        half = x.shape[0] // 2
        self.side.wait_stream(current)
        with torch.cuda.stream(self.side):
            if half:
                softmax(x[:half], y[:half], half)
        softmax(x[half:], y[half:], x.shape[0] - half)
        current.wait_stream(self.side)
        return y
