"""Kernels that do what a core does not allow, each with what the simulator must say of it."""

HEAD = r"""
#include "kernel_operator.h"
using namespace AscendC;

struct Tools {  // a core's belongings, so that a fault is a few lines
  TPipe pipe;
  TQue<TPosition::VECIN, 2> in;
  TQue<TPosition::VECOUT, 2> out;
  TBuf<TPosition::VECCALC> buf;
  GlobalTensor<float> xGm, yGm;
  __aicore__ inline Tools(GM_ADDR x, GM_ADDR y) {
    xGm.SetGlobalBuffer((__gm__ float*)x, 64);
    yGm.SetGlobalBuffer((__gm__ float*)y, 64);
    pipe.InitBuffer(in, 2, 256);
    pipe.InitBuffer(out, 2, 256);
    pipe.InitBuffer(buf, 1024);
  }
  __aicore__ inline LocalTensor<float> Load() {
    LocalTensor<float> a = in.AllocTensor<float>();
    DataCopy(a, xGm, 64);
    in.EnQue(a);
    return in.DeQue<float>();
  }
  __aicore__ inline void Store(LocalTensor<float> b) {
    out.EnQue(b);
    b = out.DeQue<float>();
    DataCopy(yGm, b, 64);
    out.FreeTensor(b);
  }
};
"""
"""``x`` and ``y`` are of 64 floats."""

FAULTS: dict[str, tuple[str, str]] = {
    "ub_overflow": (
        "TBuf<TPosition::VECCALC> more; t.pipe.InitBuffer(more, 196608);",
        "InitBuffer: UB overflow: 196608 bytes on top of 2048",
    ),
    "misaligned_count": (
        "LocalTensor<float> a = t.in.AllocTensor<float>(); DataCopy(a, t.xGm, 63);",
        "DataCopy: 63 elements are 252 bytes, not a multiple of 32; use DataCopyPad",
    ),
    "misaligned_place": (
        "LocalTensor<float> a = t.in.AllocTensor<float>(); DataCopy(a[1], t.xGm, 8);",
        "DataCopy: operand at UB offset 4 is not aligned to 32 bytes",
    ),
    "misaligned_vector": (
        "LocalTensor<float> a = t.Load(), w = t.buf.Get<float>(); Add(w, a[1], a, 8);",
        "Add: operand at UB offset 4 is not aligned to 32 bytes",
    ),
    "read_past_the_end": (
        "LocalTensor<float> a = t.in.AllocTensor<float>(); DataCopy(a, t.xGm[8], 64);",
        "DataCopy: out of bounds of global memory: bytes [32, 288) of tensor 0, which has 256",
    ),
    "write_past_the_end": (
        "LocalTensor<float> b = t.out.AllocTensor<float>(); Duplicate(b, 1.0f, 64); t.out.EnQue(b); b = t.out.DeQue<float>();"
        "DataCopyPad(t.yGm[60], b, {1, 20, 0, 0, 0});",
        "DataCopyPad: out of bounds of global memory: bytes [240, 260) of tensor 1",
    ),
    "before_the_start": (
        "LocalTensor<float> a = t.in.AllocTensor<float>(); DataCopy(a, t.xGm[static_cast<uint64_t>(-8)], 8);",
        "DataCopy: this address of global memory lies in no tensor",
    ),
    "past_the_tensor": (
        "LocalTensor<float> a = t.Load(), w = t.buf.Get<float>(); Adds(w, a, 1.0f, 72);",
        "Adds: elements [0, 72) leave the tensor, which has 64 here",
    ),
    "not_dequeued": (
        "LocalTensor<float> a = t.in.AllocTensor<float>(), w = t.buf.Get<float>(); DataCopy(a, t.xGm, 64);"
        "Adds(w, a, 1.0f, 64);",
        "Adds: reads on pipe V what pipe MTE2 may still be working on; order them by EnQue/DeQue",
    ),
    "still_queued": (
        "LocalTensor<float> a = t.in.AllocTensor<float>(), w = t.buf.Get<float>(); DataCopy(a, t.xGm, 64); t.in.EnQue(a);"
        "Adds(w, a, 1.0f, 64);",
        "Adds: the tensor is in its queue: it was not DeQue'd",
    ),
    "stored_without_queue": (
        "LocalTensor<float> b = t.out.AllocTensor<float>(); Duplicate(b, 1.0f, 64); DataCopy(t.yGm, b, 64);",
        "DataCopy: reads on pipe MTE3 what pipe V may still be working on",
    ),
    "scalar_too_early": (
        "LocalTensor<float> w = t.buf.Get<float>(); Duplicate(w, 1.0f, 64); float f = w.GetValue(0); Muls(w, w, f, 64);",
        "SetFlag/WaitFlag<HardEvent::V_S>",
    ),
    "vector_too_early": (
        "LocalTensor<float> w = t.buf.Get<float>(); w.SetValue(0, 1.0f); Muls(w, w, 2.0f, 8);",
        "Muls: reads on pipe V what pipe S may still be working on",
    ),
    "overwritten_too_early": (
        "LocalTensor<float> w = t.buf.Get<float>(), v = t.buf.Get<float>()[128]; DataCopy(w, t.xGm, 64);"
        "SetFlag<HardEvent::MTE2_V>(0); WaitFlag<HardEvent::MTE2_V>(0); Adds(v, w, 1.0f, 64); DataCopy(w, t.xGm, 64);",
        "DataCopy: overwrites on pipe MTE2 what pipe V may still be working on",
    ),
    "used_after_free": (
        "LocalTensor<float> a = t.Load(), w = t.buf.Get<float>(); t.in.FreeTensor(a); Adds(w, a, 1.0f, 64);",
        "Adds: the tensor was freed before",
    ),
    "leaked": ("t.Load();", "TPipe: a tensor of 256 bytes at UB offset 0 was allocated and never freed"),
    "left_in_queue": (
        "LocalTensor<float> a = t.in.AllocTensor<float>(); t.in.EnQue(a);",
        "was put in its queue and never freed",
    ),
    "freed_twice": ("LocalTensor<float> a = t.Load(); t.in.FreeTensor(a); t.in.FreeTensor(a);", "FreeTensor: the tensor was"),
    "no_buffer_left": ("t.Load(); t.Load(); t.Load();", "AllocTensor: all 2 buffers of the queue are in use"),
    "nothing_queued": ("t.in.DeQue<float>();", "DeQue: the queue is empty"),
    "too_deep": (
        "TQue<TPosition::VECIN, 1> q; t.pipe.InitBuffer(q, 2, 32); LocalTensor<float> a = q.AllocTensor<float>(); q.EnQue(a);"
        "a = q.AllocTensor<float>(); q.EnQue(a);",
        "EnQue: the queue's depth of 1 is exceeded",
    ),
    "too_many_queues": ("TQue<TPosition::VECIN, 1> q; t.pipe.InitBuffer(q, 7, 32);", "InitBuffer: 9 queue buffers at one"),
    "foreign_queue": ("LocalTensor<float> a = t.Load(); t.out.FreeTensor(a);", "FreeTensor: the tensor is not of this queue"),
    "not_initialised": ("TBuf<TPosition::VECCALC> b; b.Get<float>();", "TBuf::Get: the buffer was not initialised"),
    "flag_left": ("SetFlag<HardEvent::V_S>(0);", "SetFlag: HardEvent::V_S was set and never waited for"),
    "flag_missing": ("WaitFlag<HardEvent::V_S>(0);", "WaitFlag: event id 0 was not set"),
    "compared_in_part": (
        "LocalTensor<float> a = t.Load(); LocalTensor<uint8_t> m = t.buf.Get<uint8_t>(); Compare(m, a, a, CMPMODE::GT, 8);",
        "Compare: 8 elements are no multiple of 256 bytes",
    ),
    "mask_too_wide": (
        "LocalTensor<float> a = t.Load(), w = t.buf.Get<float>(); Add(w, a, a, 128, 1, {1, 1, 1, 8, 8, 8});",
        "Add: mask 128 is outside 1 … 64",
    ),
    "work_too_small": (
        "LocalTensor<float> a = t.Load(), w = t.buf.Get<float>()[128]; ReduceSum(w, a, t.buf.Get<float>(4), 64);",
        "ReduceSum: elements [0, 8) leave the tensor, which has 4 here",
    ),
    "made_up_address": ("t.xGm.SetGlobalBuffer((__gm__ float*)1234567u, 64); t.Load();", "DataCopy: this address of"),
    "pointer_past_the_end": (
        "__gm__ float* p = (__gm__ float*)x; LocalTensor<float> a = t.Load(); Muls(a, a, p[64], 8);",
        "a read through a __gm__ pointer: out of bounds of global memory: bytes [256, 260)",
    ),
    "read_back_too_early": (
        "LocalTensor<float> b = t.out.AllocTensor<float>(); Duplicate(b, 1.0f, 64); t.Store(b);"
        "LocalTensor<float> a = t.in.AllocTensor<float>(); DataCopy(a, t.yGm, 64);",
        "DataCopy: reads from global memory on pipe MTE2 what pipe MTE3 may still be working on",
    ),
    "atomic_left": ("SetAtomicAdd<float>();", "SetAtomicAdd: still on when the kernel ends"),
}
"""Name -> body of a kernel with ``Tools t``, and what is said."""

RACES: dict[str, tuple[str, str]] = {
    "same_bytes": (
        "LocalTensor<float> b = t.out.AllocTensor<float>(); Duplicate(b, 1.0f, 64); t.Store(b);",
        "is written here and written by block",
    ),
    "alien_bytes": (
        "LocalTensor<float> b = t.out.AllocTensor<float>(); Duplicate(b, 1.0f, 64); t.out.EnQue(b); b = t.out.DeQue<float>();"
        "uint32_t mine = GetBlockIdx() * 8; DataCopy(t.yGm[mine], b, 8); t.out.FreeTensor(b); PipeBarrier<PIPE_ALL>();"
        "LocalTensor<float> a = t.in.AllocTensor<float>(); DataCopy(a, t.yGm, 16); t.in.FreeTensor(a);",
        "race: byte",
    ),
}
"""The same of kernels that are right in one block and wrong in two."""


def source() -> str:
    """One source with every kernel, so that it is compiled once."""
    kernel = 'extern "C" __global__ __aicore__ void {}(GM_ADDR x, GM_ADDR y) {{ Tools t(x, y); {} }}\n'
    return HEAD + "".join(kernel.format(name, body) for name, (body, _) in {**FAULTS, **RACES}.items())
