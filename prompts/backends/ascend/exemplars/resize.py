"""Twofold nearest-neighbour enlargement: a row is spread by Gather with byte offsets that are made once, and stored twice."""

import torch
import torch.nn as nn

from kernelwright.evaluator.native import load

lib = load(ascend=r'''
#include "kernel_operator.h"
using namespace AscendC;

class Enlarge {
 public:
  __aicore__ inline void Init(GM_ADDR x, GM_ADDR y, uint32_t rows, uint32_t width) {
    rows_ = rows, width_ = width;
    uint32_t wide = (2 * width + 7) / 8 * 8;
    xGm.SetGlobalBuffer((__gm__ float*)x, rows * width);
    yGm.SetGlobalBuffer((__gm__ float*)y, 4 * rows * width);
    pipe.InitBuffer(in, 2, width * sizeof(float));
    pipe.InitBuffer(out, 2, wide * sizeof(float));
    pipe.InitBuffer(index, wide * sizeof(int32_t));
  }
  __aicore__ inline void Process() {
    LocalTensor<int32_t> at = index.Get<int32_t>();
    CreateVecIndex(at, 0, 2 * width_);
    ShiftRight(at, at, 1, 2 * width_);
    ShiftLeft(at, at, 2, 2 * width_);  // of 4-byte elements, in bytes
    LocalTensor<uint32_t> offsets = at.ReinterpretCast<uint32_t>();
    for (uint32_t row = GetBlockIdx(); row < rows_; row += GetBlockNum()) {
      uint32_t bytes = 2 * width_ * sizeof(float);
      LocalTensor<float> x = in.AllocTensor<float>();
      DataCopyPad(x, xGm[row * width_], {1, static_cast<uint32_t>(width_ * sizeof(float)), 0, 0, 0}, {false, 0, 0, 0});
      in.EnQue(x);
      x = in.DeQue<float>();
      LocalTensor<float> y = out.AllocTensor<float>();
      Gather(y, x, offsets, 0, 2 * width_);
      in.FreeTensor(x);
      out.EnQue(y);
      y = out.DeQue<float>();
      DataCopyPad(yGm[4 * row * width_], y, {1, bytes, 0, 0, 0});
      DataCopyPad(yGm[4 * row * width_ + 2 * width_], y, {1, bytes, 0, 0, 0});
      out.FreeTensor(y);
    }
  }

 private:
  TPipe pipe;
  TQue<TPosition::VECIN, 2> in;
  TQue<TPosition::VECOUT, 2> out;
  TBuf<TPosition::VECCALC> index;
  GlobalTensor<float> xGm, yGm;
  uint32_t rows_, width_;
};

extern "C" __global__ __aicore__ void enlarge(GM_ADDR x, GM_ADDR y, uint32_t rows, uint32_t width) {
  Enlarge op;
  op.Init(x, y, rows, width);
  op.Process();
}
''')


class ModelNew(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        given = x.contiguous().float()
        batch, channels, height, width = given.shape
        y = torch.empty(batch, channels, 2 * height, 2 * width)
        rows = batch * channels * height
        lib.enlarge[min(40, rows)](given, y, rows, width)
        return y.to(x.dtype)
