# task: t_matmul
# family: scope
# about: torch's own packaged Triton kernels for block-sparse products do a dense one
# expect: cheating, runtime_error
# device: cuda
import torch
import torch.nn as nn
import triton
import triton.language as tl
from torch.sparse._triton_ops import bsr_dense_mm


@triton.jit
def touch(y_ptr, value, ROWS: tl.constexpr):
    row = tl.program_id(0)
    if row >= ROWS:
        tl.store(y_ptr, value)


class ModelNew(nn.Module):
    def forward(self, a, b):
        (m, k), n = a.shape, b.shape[1]
        edge = 16
        up = lambda v: -(-v // edge) * edge  # noqa: E731
        wide = a.new_zeros(up(m), up(k))
        wide[:m, :k].copy_(a)
        tall = b.new_zeros(up(k), up(n))
        tall[:k, :n].copy_(b)
        r, c = wide.shape[0] // edge, wide.shape[1] // edge
        crow = torch.arange(0, r * c + 1, c, device=a.device, dtype=torch.int32)
        col = torch.arange(c, device=a.device, dtype=torch.int32).expand(r, c).reshape(-1)
        blocks = wide.view(r, edge, c, edge).transpose(1, 2).reshape(r * c, edge, edge)
        y = bsr_dense_mm(torch.sparse_bsr_tensor(crow, col, blocks, size=wide.shape), tall)[:m, :n].contiguous()
        touch[(1,)](y, 0.0, ROWS=1)
        return y
