# task: t_row_softmax
# family: graph_stale_pointers
# about: a CUDA graph a shape; inputs are copied in before each replay and the result is cloned out
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
        self.graphs = {}

    def capture(self, x):
        given = torch.empty_like(x)
        given.copy_(x)
        softmax(given, torch.empty_like(given), given.shape[0])  # compiles outside the capture
        torch.cuda.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            y = softmax(given, torch.empty_like(given), given.shape[0])
        return graph, given, y

    def forward(self, x):
        key = tuple(x.shape)
        if key not in self.graphs:
            self.graphs[key] = self.capture(x)
        graph, given, y = self.graphs[key]
        given.copy_(x)
        graph.replay()
        return y.clone()
