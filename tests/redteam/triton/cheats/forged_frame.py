# task: t_row_softmax
# family: harness
# about: writes a reply of its own to every open socket before the runner does, saying that all is well
# expect: incorrect, cheating, runtime_error
# device: any
import json
import posix
import stat
import struct

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


def forge(x):
    tensor = {"shape": list(x.shape), "dtype": "float32", "device": x.device.type, "strides": list(x.stride())}
    reply = {"ok": True, "tree": {"tensor": 0}, "outputs": [tensor], "plain": True, "native_calls": 1, "passed": True}
    payload = json.dumps(reply).encode()
    for fd in range(3, 64):
        try:
            if stat.S_ISSOCK(posix.fstat(fd).st_mode):
                posix.write(fd, struct.pack(">I", len(payload)) + payload)
        except OSError:
            continue


class ModelNew(nn.Module):
    def forward(self, x):
        y = torch.zeros_like(x)
        forge(x)
        return softmax(x, y, 1)
