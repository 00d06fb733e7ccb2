# task: bucket_sum
# family: semantics
# about: Triton-Ascend: programs add to the same sums by atomics
# expect: passed
# device: cpu
import torch
import torch.nn as nn
import triton
import triton.language as tl


@triton.jit
def add_to(values, where, o, n, count, BLOCK: tl.constexpr, COUNT: tl.constexpr):
    at = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    v = tl.load(values + at, mask=at < n, other=0.0)
    w = tl.load(where + at, mask=at < n, other=-1)
    buckets = tl.arange(0, COUNT)
    hits = tl.where(w[:, None] == buckets[None, :], v[:, None], 0.0)
    tl.atomic_add(o + buckets, tl.sum(hits, axis=0), mask=buckets < count)


class ModelNew(nn.Module):
    def __init__(self, count):
        super().__init__()
        self.count = count

    def forward(self, values, where):
        values, where = values.contiguous(), where.to(torch.int32).contiguous()
        out = torch.zeros(self.count)
        n = values.numel()
        add_to[(triton.cdiv(n, 128),)](
            values, where, out, n, self.count, BLOCK=128, COUNT=max(16, triton.next_power_of_2(self.count))
        )
        return out
